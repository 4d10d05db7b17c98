"""Turn a body into parameters: a query of pairs `key=value`, joined by `&`. Pure: no I/O, no clock.

The tracker stores events by this rule, and kafidx searches for events by it. Only `&`, `=`, `+`, `%`, `#`, `;`, spaces
and control characters are percent-encoded. Other bytes stay unchanged, because percent-encoding makes non-ASCII text
three times as long, and the limit applies to the encoded event.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import msgspec

from services.backbone.events import InvalidEvent

TEXT_PARAMETER: Final = "text"
"""The parameter that holds a text body that is neither JSON nor pairs."""

_TO_ESCAPE: Final = re.compile(r"[\x00-\x20%&+=#;\x7f]")
_TO_ESCAPE_IN_BYTES: Final = re.compile(_TO_ESCAPE.pattern.encode())
_SHORT: Final = 64  # clients choose the names, so the cache holds short ones only
_PAIRS: Final = re.compile(rb"[\w.~%$!*\[\]-]+=[^\s&]*(?:&[\w.~%$!*\[\]-]+=[^\s&]*)*&?")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.", re.DOTALL
)
_LONE_SURROGATE_LENGTH: Final = len(rb"\ud800")
UTF8_BOM: Final = b"\xef\xbb\xbf"
"""Some clients send it before JSON and text. RFC 8259 (8.1) allows parsers to ignore it."""


JsonText = msgspec.Raw | bytes | bytearray | memoryview
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The exceptions that msgspec raises for invalid JSON."""
_decode: Final = msgspec.json.Decoder().decode
# 50 times as fast as `json.dumps`, which holds the GIL for up to 45 ms while it writes a value of 256 kB.
_encode: Final = msgspec.json.Encoder().encode


class Refused(InvalidEvent):
    """A request or a batch entry that is not stored. The message is safe to show to the client."""


class Malformed(Refused):
    """A request or entry with invalid syntax."""


class Unsupported(Refused):
    """A request with a content type or encoding that the tracker does not support."""


def params_of_kind(kind: bytes, body: bytes) -> bytes:
    """Return the parameters of a body as a query. `kind` is its media type in lower case, without parameters.

    A form gives its pairs unchanged, a JSON object its members. A text body is read as a JSON object, else as pairs,
    else it becomes the parameter `text`. sendBeacon sends text; a body without a type counts as text. Raises Malformed
    or Unsupported.
    """
    body = body.removeprefix(UTF8_BOM)
    if kind == b"application/x-www-form-urlencoded":
        return body.strip()
    if kind in (b"application/json", b"text/json") or kind.endswith(b"+json"):
        return query_of_members(read_json_object(body)) if body.strip() else b""
    if kind.startswith(b"text/") or kind in (b"", b"application/octet-stream"):
        return _params_of_text(body.strip())
    raise Unsupported("the Content-Type is not supported; send a form (urlencoded or multipart), JSON or text")


def read_json(data: JsonText, *, replace_surrogates: bool = True) -> Any:
    r"""Decode JSON. Raises Malformed, with the position of the error when it is known.

    A lone surrogate (`"\ud83d"`) becomes U+FFFD, or is malformed without `replace_surrogates`. JavaScript writes one
    when it cuts text in the middle of an emoji.
    """
    try:
        return _decode(data)
    except UNREADABLE as error:
        if not _SURROGATE.search(data):
            raise malformed(error) from None
    try:
        value = _decode(_ESCAPE.sub(_replace_lone_surrogate, bytes(data)))
    except UNREADABLE as error:
        raise malformed(error) from None
    if not replace_surrogates:
        raise Malformed("not valid JSON: a string has half of a surrogate pair")
    return value


def malformed(error: Exception) -> Malformed:
    """Return the Malformed error for one of the exceptions in UNREADABLE."""
    if isinstance(error, RecursionError):
        return Malformed("the JSON is nested too deep")
    return Malformed(f"not valid JSON: {error}")


def read_json_object(data: bytes) -> dict[str, Any]:
    """Decode a JSON object. Raises Malformed."""
    value = read_json(data)
    if not isinstance(value, dict):
        raise Malformed(
            "expected a JSON object; send many events in one request to one of TRACKER_BATCH_PATHS, such as /batch"
        )
    return value


def query_of_members(members: dict[str, Any]) -> bytes:
    """Encode the members of a JSON object as a query: nested values as JSON text, null as an empty value.

    Raises Malformed when a value is nested too deep.
    """
    return "&".join([f"{_key(key)}={_value(value)}" for key, value in members.items()]).encode("utf-8", "replace")


def query_of(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encode pairs as a query."""
    return b"&".join(b"%s=%s" % (_escape_bytes(key), _escape_bytes(value)) for key, value in pairs)


def join_queries(*queries: bytes) -> bytes:
    """Join queries, without the empty ones."""
    return b"&".join(query for query in queries if query)


def _escape_bytes(data: bytes) -> bytes:
    return _TO_ESCAPE_IN_BYTES.sub(lambda match: b"%%%02X" % match[0][0], data)


def _escape(text: str) -> str:
    return _TO_ESCAPE.sub(lambda match: f"%{ord(match[0]):02X}", text)


def _key(text: str) -> str:
    return _escape_short(text) if len(text) <= _SHORT else _escape(text)


def _value(value: Any) -> str:
    """Encode a value. The most frequent types are tested first."""
    if type(value) is str:
        return _escape(value)
    if type(value) is int:
        return str(value)
    if value is None:
        return ""
    if type(value) is float:
        return _escape(repr(value))
    try:
        return _escape(_encode(value).decode())
    except RecursionError:
        raise Malformed("the JSON is nested too deep") from None


# Few different names occur, each of them often.
_escape_short = lru_cache(maxsize=4096)(_escape)


def _params_of_text(body: bytes) -> bytes:
    if body.startswith(b"{"):
        try:
            return query_of_members(read_json_object(body))
        except Malformed:
            pass  # text that only begins like JSON is still text
    if _PAIRS.fullmatch(body):
        return body
    return query_of([(TEXT_PARAMETER.encode(), body)]) if body else b""


def _replace_lone_surrogate(match: re.Match[bytes]) -> bytes:
    escape = match[0]
    return rb"\ufffd" if len(escape) == _LONE_SURROGATE_LENGTH else escape
