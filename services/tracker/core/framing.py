"""Reject request heads that RFC 9112 forbids and the parser accepts; split request targets.

When a proxy and a server disagree about the end of a request, the server may process one client's bytes as another
client's request (request smuggling). So the tracker refuses every ambiguous head and closes the connection.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from services.tracker.core.request import HeaderList

# RFC 9110, 7.2 and RFC 3986, 3.2.2: an IP literal in brackets or a registered name, then a port. It may be empty.
_HOST: Final = re.compile(rb"(?:\[[0-9A-Za-z.:]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_LONGEST_HOST: Final = 320  # a DNS name has at most 253 bytes; the cache must not hold longer input
_TOKEN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class HeadError(NamedTuple):
    """The reason for refusing a head."""

    status: int
    code: str
    detail: str


def head_error(version: str, headers: HeaderList, fields: Mapping[bytes, bytes]) -> HeadError | None:
    """Return why a request with this head must be refused; None for a valid head.

    `headers` holds all fields of the head, `fields` the first field of each name (`header_fields`).
    """
    # The fast path, since this runs for each request. Equal lengths mean that no field is repeated.
    host = fields.get(b"host")
    if (
        host is not None
        and version == "1.1"
        and len(fields) == len(headers)
        and b"transfer-encoding" not in fields
        and len(host) <= _LONGEST_HOST
        and _is_short_host(host)
    ):
        return None
    return _version_error(version) or _host_error(version, headers) or _coding_error(version, headers)


def _version_error(version: str) -> HeadError | None:
    """Check the version (RFC 9110, 15.6.6). A request line without a version is HTTP/0.9."""
    if version in ("1.0", "1.1"):
        return None
    return HeadError(505, "version", f"HTTP/{version} is not supported; send HTTP/1.1")


def _host_error(version: str, headers: HeaderList) -> HeadError | None:
    """Check the Host field (RFC 9112, 3.2)."""
    hosts = _values(headers, b"host")
    if not hosts and version == "1.0":
        return None
    if len(hosts) != 1:
        return HeadError(400, "malformed", f"the request has {len(hosts) or 'no'} Host fields; send one")
    if not _is_host(hosts[0]):
        return HeadError(
            400, "malformed", "the Host field is invalid; send a host name or an address, with an optional port"
        )
    return None


def _coding_error(version: str, headers: HeaderList) -> HeadError | None:
    """Check Transfer-Encoding (RFC 9112, 6.1 and 6.3). The parser itself refuses a Content-Length beside it."""
    values = _values(headers, b"transfer-encoding")
    if not values:
        return None
    if version == "1.0":
        return HeadError(400, "malformed", "an HTTP/1.0 request must not have a Transfer-Encoding")
    codings = [coding.strip(b" \t").lower() for coding in b",".join(values).split(b",")]
    if codings == [b"chunked"]:
        return None
    *others, last = codings
    if last == b"chunked" and b"chunked" not in others and all(map(_TOKEN.fullmatch, others)):
        return HeadError(501, "unsupported", "the Transfer-Encoding is not supported; send chunked alone")
    return HeadError(400, "malformed", "the Transfer-Encoding is invalid; send chunked")


def _values(headers: HeaderList, wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


def _is_host(host: bytes) -> bool:
    return _HOST.fullmatch(host.strip(b" \t")) is not None


_is_short_host = lru_cache(maxsize=1024)(_is_host)


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Split a request target (RFC 9112, 3.2) into path and query. The authority of an absolute target is dropped.

    The path always begins with `/`.
    """
    target = target.partition(b"#")[0]
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/"):
        scheme, separator, rest = path.partition(b"://")
        path = b"/" + (rest.partition(b"/")[2] if separator and scheme.isalnum() else path)
    return path, query
