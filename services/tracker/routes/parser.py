"""Configure httptools' parser: this server itself handles versions, upgrades and the end of a connection.

By default llhttp 9 (httptools 0.9) accepts requests that RFC 9112 forbids. `core.head_error` and CollectorProtocol
refuse or ignore these:

- HTTP/0.9 and HTTP/2.0 in the request line, and a request line without a version;
- a head without Host, with several Host fields, or with an invalid Host;
- codings before `chunked`, also empty ones, and a Transfer-Encoding in HTTP/1.0. For an invalid Transfer-Encoding the
  parser reports first a complete head and later the error;
- fields after a chunked body (trailers). The parser reports them like fields of the head, and after a trailer
  `Connection: close` it drops the next request.

The tracker accepts these, because they are not ambiguous: several spaces in the request line, empty lines before it,
RTSP/1.0 in place of HTTP/1.0 (with the same framing), chunk extensions, leading zeros of a chunk size.
"""

from collections.abc import Sequence

import httptools

from services.tracker.core import HeadError


class HeadRefused(Exception):
    """Raised in a callback to stop the parser after the head of a request that must be refused."""

    def __init__(self, error: HeadError) -> None:
        super().__init__(error.detail)
        self.error = error


class ConnectionEnded(Exception):
    """Raised in a callback to stop the parser after the last request of a connection."""


def create_parser(protocol: object) -> httptools.HttpRequestParser:
    """Create a parser that accepts all versions and continues after `Connection: close`."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_keep_alive=True, lenient_version=True)
    return parser


def head_without_upgrade(
    parser: httptools.HttpRequestParser, target: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """Return the head of a request without its Upgrade field, to decline the upgrade (RFC 9110, 7.8).

    Java's HTTP client offers an upgrade with each request. The parser assumes that the bytes after such a head belong
    to the other protocol, so a new parser reads the head again, without the offer.
    """
    lines = [b"%s %s HTTP/%s" % (parser.get_method(), target, parser.get_http_version().encode())]
    lines += [b"%s: %s" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join(lines) + b"\r\n\r\n"
