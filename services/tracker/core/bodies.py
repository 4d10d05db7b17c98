"""Bodies: how they are taken in within a limit, and the parameters in them.

Parameters leave here as a query: pairs `key=value` with `&` between, of which only what would be misread (`&`, `=`,
`+`, `%`, `#`, `;`, spaces and control characters) is percent-encoded. Other bytes stay as they are, so that text
that is not ASCII does not grow threefold before it is measured against the limit.
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

if TYPE_CHECKING:  # it is not there at run time
    from python_multipart.multipart import MultipartCallbacks

TEXT_PARAMETER: Final = "text"
"""What a text body that is neither JSON nor pairs becomes."""

_TO_ESCAPE: Final = re.compile(r"[\x00-\x20%&+=#;\x7f]")
_TO_ESCAPE_IN_BYTES: Final = re.compile(_TO_ESCAPE.pattern.encode())
_SHORT: Final = 64  # visitors choose names, and a cache must stay small
_PAIRS: Final = re.compile(rb"[\w.~%$!*\[\]-]+=[^\s&]*(?:&[\w.~%$!*\[\]-]+=[^\s&]*)*&?")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.", re.DOTALL
)
_LONE_SURROGATE_LENGTH: Final = len(rb"\ud800")
_LONGEST_CONTENT_TYPE: Final = 1024
# Members of one gzip body: each costs time, however little is in it, and an empty one has but 20 bytes.
_MOST_GZIP_MEMBERS: Final = 64
_UNPACK_STEP: Final = 65_536
UTF8_BOM: Final = b"\xef\xbb\xbf"
"""Some clients send it before JSON and text; RFC 8259 (8.1) allows to ignore it."""


JsonText = msgspec.Raw | bytes | bytearray | memoryview
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a text that it can't read."""
DECODED_BYTES_PER_BYTE: Final = 50
"""Memory of decoded JSON for each byte of its text, at most: arrays in arrays take 44, usual events 5 to 10."""
_decode: Final = msgspec.json.Decoder().decode
# 50 times as fast as `json.dumps`, which holds the GIL for up to 45 ms while it writes a value of 256 kB.
_encode: Final = msgspec.json.Encoder().encode


class Refused(InvalidEvent):
    """A request, or an entry of a batch, that is not taken. The message may be shown to the client."""


class Malformed(Refused):
    """It can't be read."""


class Unsupported(Refused):
    """It is of a kind that is not read here."""


class TooLarge(Refused):
    """It is over a limit, which the message names together with its setting."""

    def __init__(self, what: str, limit: int, setting: str, unit: str = "bytes") -> None:
        super().__init__(f"{what} is over the limit of {limit} {unit} ({setting})")
        self.limit = limit
        self.setting = setting


class Body:
    """Takes in a body as it arrives, and unpacks gzip when it is whole.

    Holds at most `limit` bytes before that. A few kB of gzip may unpack to `limit` bytes, so a body is unpacked when
    its turn to be decoded comes, and bodies that wait take no more memory than was sent.
    """

    def __init__(self, encoding: bytes, *, limit: int, setting: str) -> None:
        """Read a body of this Content-Encoding. Raises Unsupported."""
        encoding = encoding.strip().lower()
        if encoding not in (b"", b"identity", b"gzip", b"x-gzip"):
            raise Unsupported("Content-Encoding can be gzip or identity")
        self._is_gzip = b"gzip" in encoding
        self._limit = limit
        self._setting = setting
        self._received = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises TooLarge."""
        if len(self._received) + len(chunk) > self._limit:
            raise self._too_large()
        self._received += chunk

    def fits(self, size: int) -> bool:
        """Return whether the whole body, unpacked, has at most `size` bytes. Takes no longer than unpacking so many.

        A body that is not valid gzip fits.
        """
        if not self._is_gzip:
            return len(self._received) <= size
        try:
            return len(_unpack(self._received, size + 1)) <= size
        except Malformed:
            return True

    def finish(self) -> bytes | bytearray:
        """Return the whole body, unpacked, and keep nothing of it. Raises TooLarge, and Malformed."""
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
    """Return the first `most` bytes of what gzip data holds; gzip allows one member after another. Raises Malformed."""
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
                raise Malformed("the body is no gzip data") from error
            if len(data) >= most:
                return data
            rest = member.unconsumed_tail or member.unused_data
    if packed and not member.eof:
        raise Malformed("the gzip data ends too early")
    return data


def params_of_body(content_type: bytes, body: bytes) -> bytes:
    """Return the parameters of a single event's body as a query.

    A form gives its pairs as they came, a multipart form its text fields, a JSON object its members; a text body (also
    what sendBeacon sends, and a body without a type) is read as a JSON object, else as pairs, else it becomes
    the parameter `text`. Raises Malformed or Unsupported.
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
    raise Unsupported("Content-Type can be a form (urlencoded or multipart), JSON or text")


def read_json(data: JsonText) -> Any:
    """Decode JSON. Raises Malformed, with the place where it can tell.

    Half a surrogate pair, which JavaScript writes when it cuts text in the middle of an emoji, becomes U+FFFD.
    """
    try:
        return _decode(data)
    except UNREADABLE as error:
        if not _SURROGATE.search(data):
            raise malformed(error) from None
    try:
        return _decode(_ESCAPE.sub(_mend_surrogate, bytes(data)))
    except UNREADABLE as error:
        raise malformed(error) from None


def malformed(error: Exception) -> Malformed:
    """Return the refusal of a text for which msgspec raised one of UNREADABLE."""
    if isinstance(error, RecursionError):
        return Malformed("the JSON is nested too deep")
    return Malformed(f"not valid JSON: {error}")


def read_json_object(data: bytes) -> dict[str, Any]:
    """Decode a JSON object. Raises Malformed."""
    value = read_json(data)
    if not isinstance(value, dict):
        raise Malformed(
            "expected a JSON object; many events in one request go to one of TRACKER_BATCH_PATHS, such as /batch"
        )
    return value


def query_of_members(members: dict[str, Any]) -> bytes:
    """Write the members of a JSON object as a query; nested values as JSON text, null as an empty value.

    Raises Malformed when a value is nested too deep.
    """
    return "&".join([f"{_key(key)}={_value(value)}" for key, value in members.items()]).encode("utf-8", "replace")


def query_of(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write pairs as a query."""
    return b"&".join(b"%s=%s" % (_escape_bytes(key), _escape_bytes(value)) for key, value in pairs)


def join_queries(*queries: bytes) -> bytes:
    """Put one query after the other."""
    return b"&".join(query for query in queries if query)


def _escape_bytes(data: bytes) -> bytes:
    return _TO_ESCAPE_IN_BYTES.sub(lambda match: b"%%%02X" % match[0][0], data)


def _escape(text: str) -> str:
    return _TO_ESCAPE.sub(lambda match: f"%{ord(match[0]):02X}", text)


def _key(text: str) -> str:
    return _escape_short(text) if len(text) <= _SHORT else _escape(text)


def _value(value: Any) -> str:
    """Write a value; the kinds that nearly all are of come first."""
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


# Names of parameters are few and come over and over.
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


def _mend_surrogate(match: re.Match[bytes]) -> bytes:
    escape = match[0]
    return rb"\ufffd" if len(escape) == _LONE_SURROGATE_LENGTH else escape


def _multipart_fields(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Return the text fields of a multipart form, in order; files are left out. Raises Malformed."""
    if not boundary:
        raise Malformed("not a valid multipart form: its Content-Type has no boundary")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.write(body)
    except FormParserError as error:
        raise Malformed(f"not a valid multipart form: {error}") from error
    if parser.state != MultipartState.END:
        raise Malformed("not a valid multipart form: it ends too early")
    return parts.fields


class _Parts:
    """Collects what the multipart parser finds."""

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
