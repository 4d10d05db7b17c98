"""Receive a body within a limit, and extract its parameters (backbone/bodies.py has the rule for them)."""

import zlib
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from services.backbone.bodies import UTF8_BOM, Malformed, Refused, Unsupported, params_of_kind, query_of

if TYPE_CHECKING:  # the module defines it for type checkers only
    from python_multipart.multipart import MultipartCallbacks

_LONGEST_CONTENT_TYPE: Final = 1024
# Maximum members of one gzip body. Each member costs time, and an empty one has only 20 bytes.
_MOST_GZIP_MEMBERS: Final = 64
_UNPACK_STEP: Final = 65_536
DECODED_BYTES_PER_BYTE: Final = 50
"""Maximum memory of decoded JSON per byte of its text. Nested arrays take 44 bytes, usual events 5 to 10."""


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

    A multipart form gives its text fields; params_of_kind has the rule for all other bodies. Raises Malformed or
    Unsupported.
    """
    kind, options = parse_options_header(content_type[:_LONGEST_CONTENT_TYPE])
    kind = kind.strip().lower()
    if kind == b"multipart/form-data":
        return query_of(_multipart_fields(body.removeprefix(UTF8_BOM), options.get(b"boundary", b"")))
    return params_of_kind(kind, body)


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
