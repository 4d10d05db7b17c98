"""Receive a body within a limit, and extract its parameters.

The parameters become a query: pairs `key=value`, joined by `&`. Only `&`, `=`, `+`, `%`, `#`, `;`, spaces and control
characters are percent-encoded. Other bytes stay unchanged, because percent-encoding makes non-ASCII text three times
as long, and the limit applies to the encoded event.
"""

import re
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from services.backbone.events import InvalidEvent

if TYPE_CHECKING:  # the module defines it for type checkers only
    from python_multipart.multipart import MultipartCallbacks

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
_LONGEST_CONTENT_TYPE: Final = 1024
# Maximum members of one gzip body. Each member costs time, and an empty one has only 20 bytes.
_MOST_GZIP_MEMBERS: Final = 64
_UNPACK_STEP: Final = 65_536
UTF8_BOM: Final = b"\xef\xbb\xbf"
"""Some clients send it before JSON and text. RFC 8259 (8.1) allows parsers to ignore it."""


JsonText = msgspec.Raw | bytes | bytearray | memoryview
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The exceptions that msgspec raises for invalid JSON."""
DECODED_BYTES_PER_BYTE: Final = 50
"""Maximum memory of decoded JSON per byte of its text. Nested arrays take 44 bytes, usual events 5 to 10."""
_decode: Final = msgspec.json.Decoder().decode
# 50 times as fast as `json.dumps`, which holds the GIL for up to 45 ms while it writes a value of 256 kB.
_encode: Final = msgspec.json.Encoder().encode


class Refused(InvalidEvent):
    """A request or a batch entry that is not stored. The message is safe to show to the client."""


class Malformed(Refused):
    """A request or entry with invalid syntax."""


class Unsupported(Refused):
    """A request with a content type or encoding that the tracker does not support."""


class TooLarge(Refused):
    """A request or entry over a limit. The message names the limit and its setting."""

    def __init__(self, what: str, limit: int, setting: str, unit: str = "bytes") -> None:
        super().__init__(f"{what} is over the limit of {limit} {unit} ({setting})")
        self.limit = limit
        self.setting = setting


class Body:
    """Collects a body while it arrives; decompresses gzip when it is complete.

    A body holds at most `limit` bytes. A few kB of gzip may decompress to `limit` bytes, so a body is decompressed
    only when its turn to be decoded comes. Until then it uses no more memory than its compressed bytes.
    """

    def __init__(self, encoding: bytes, *, limit: int, setting: str) -> None:
        """Raise Unsupported when `encoding`, the Content-Encoding, is neither gzip nor identity."""
        encoding = encoding.strip().lower()
        if encoding not in (b"", b"identity", b"gzip", b"x-gzip"):
            raise Unsupported("the Content-Encoding is not supported; send gzip or identity")
        self._is_gzip = b"gzip" in encoding
        self._limit = limit
        self._setting = setting
        self._received = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Append the next bytes. Raises TooLarge."""
        if len(self._received) + len(chunk) > self._limit:
            raise self._too_large()
        self._received += chunk

    def fits(self, size: int) -> bool:
        """Return whether the decompressed body has at most `size` bytes. Decompresses at most one byte more.

        Returns True for invalid gzip data.
        """
        if not self._is_gzip:
            return len(self._received) <= size
        try:
            return len(_unpack(self._received, size + 1)) <= size
        except Malformed:
            return True

    def finish(self) -> bytes | bytearray:
        """Return the decompressed body and release it. Raises TooLarge and Malformed."""
        received, self._received = self._received, bytearray()
        if not self._is_gzip:
            return received
        data = _unpack(received, self._limit + 1)
        if len(data) > self._limit:
            raise self._too_large()
        return data

    def _too_large(self) -> TooLarge:
        return TooLarge("the body", self._limit, self._setting)


def _unpack(packed: bytearray, most: int) -> bytearray:
    """Decompress at most `most` bytes of gzip data, which may have several members. Raises Malformed."""
    data = bytearray()
    member = zlib.decompressobj(wbits=31)
    members = 1
    for at in range(0, len(packed), _UNPACK_STEP):
        rest = bytes(packed[at : at + _UNPACK_STEP])
        while rest:
            if member.eof:
                member = zlib.decompressobj(wbits=31)
                members += 1
                if members > _MOST_GZIP_MEMBERS:
                    raise Malformed(f"the gzip data has over {_MOST_GZIP_MEMBERS} members")
            try:
                data += member.decompress(rest, min(_UNPACK_STEP, most - len(data)))
            except zlib.error as error:
                raise Malformed("the body is not gzip data") from error
            if len(data) >= most:
                return data
            rest = member.unconsumed_tail or member.unused_data
    if packed and not member.eof:
        raise Malformed("the gzip data ends too early")
    return data


def params_of_body(content_type: bytes, body: bytes) -> bytes:
    """Return the parameters of a single event's body as a query.

    A form gives its pairs unchanged, a multipart form its text fields, a JSON object its members. A text body is read
    as a JSON object, else as pairs, else it becomes the parameter `text`. sendBeacon sends text; a body without a type
    counts as text. Raises Malformed or Unsupported.
    """
    body = body.removeprefix(UTF8_BOM)
    kind, options = parse_options_header(content_type[:_LONGEST_CONTENT_TYPE])
    kind = kind.strip().lower()
    if kind == b"application/x-www-form-urlencoded":
        return body.strip()
    if kind == b"multipart/form-data":
        return query_of(_multipart_fields(body, options.get(b"boundary", b"")))
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


def _multipart_fields(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Return the text fields of a multipart form in order, without files. Raises Malformed."""
    if not boundary:
        raise Malformed("not a valid multipart form: its Content-Type has no boundary")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
    except FormParserError as error:
        raise Malformed(f"not a valid multipart form: {error}") from error
    if parser.state != MultipartState.END:
        raise Malformed("not a valid multipart form: it is incomplete")
    return parts.fields


class _Parts:
    """Collects the text fields that the multipart parser finds."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self._name = bytearray()
        self._value = bytearray()
        self._disposition = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._take_name,
            "on_header_value": self._take_value,
            "on_header_end": self._end_header,
            "on_part_data": self._take_value,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition = b""
        self._name.clear()
        self._value.clear()

    def _take_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" in options and b"filename" not in options:
            self.fields.append((options[b"name"], bytes(self._value)))
