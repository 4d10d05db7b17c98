"""Split the body of a batch into its entries, as JSON text, without decoding them.

A decoded document takes up to 50 times the memory of its text, so only one entry is decoded at a time (core.batch).
The text is split in one of two ways:

- msgspec splits a valid document of up to 128 KiB in one call, which holds the GIL for up to 10 ms.
- The scanner splits any other document, one element at a time. It follows brackets and quotes only, so an entry that
  is not valid JSON does not make the others unreadable. It takes about 0.5 microseconds for a bracket or comma, and
  other threads can take the GIL between two steps.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from services.backbone.bodies import UNREADABLE, UTF8_BOM, JsonText, Malformed, malformed, read_json
from services.tracker.core.bodies import TooLarge

Text = bytes | bytearray | memoryview

SHORT_BYTES: Final = 131_072
"""The longest document that msgspec splits."""
SPLIT_BYTES: Final = 64 * SHORT_BYTES // 2
"""Memory of a document that msgspec has split, beside its text: 64 bytes for an element of a byte and a comma."""
_MOST_STEPS: Final = 1_200_000
"""The limit of brackets and commas in one document: 1 s of work. Usual batches have a tenth of it."""
_WINDOW: Final = 65_536
"""Bytes that one call of the regular expression engine covers, since it holds the GIL meanwhile: at most 3 ms."""
_LONGEST_TIME: Final = 64

_NDJSON_TYPES: Final = (
    b"application/x-ndjson",
    b"application/ndjson",
    b"application/jsonl",
    b"application/x-jsonlines",
)
_COMMA, _QUOTE = b',"'
_OPENING: Final = b"[{"
_SPACE: Final = re.compile(rb"\s*+")
_MEMBER: Final = re.compile(rb'\s*+"(events|batch|sent_at|sentAt)"\s*+:\s*+')
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_LEAF = rb'[\[{](?:[^"\[\]{}]++|' + _STRING + rb")*+[\]}]"
"""An array or object that contains no other array or object."""
_SIMPLE = rb'(?:[^"\[\]{}%s]++|' + _STRING + rb"|" + _LEAF + rb")*+"
_TOP: Final = re.compile(_SIMPLE % b",", re.DOTALL), b",[]{}"
_NESTED: Final = re.compile(_SIMPLE % b"", re.DOTALL), b"[]{}"
"""The bytes that the scanner skips in one step, outside and inside an element, and the bytes that stop it."""
_INSIDE_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_OPENINGS: Final = re.compile(rb"[\[{]++")
_CLOSINGS: Final = re.compile(rb"[\]}]++")


class _Envelope(msgspec.Struct):
    """The members of `{"events": [...]}` and `{"batch": [...]}` that a batch is read from."""

    events: msgspec.Raw | None = None
    batch: msgspec.Raw | None = None
    sent_at: msgspec.Raw | None = None
    sentAt: msgspec.Raw | None = None  # noqa: N815 - as the Segment libraries write it


_split_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_split_object: Final = msgspec.json.Decoder(_Envelope).decode


class Document(NamedTuple):
    """The body of a batch, split."""

    entries: Iterator[JsonText]
    """Raises Malformed or TooLarge when the document has no end: then none of its entries may be stored."""
    sent_at: object = None
    """When the client sent the body, by the client's clock."""


def split_batch(content_type: bytes, body: bytes | bytearray) -> Document:
    """Split the body of a batch. Raises Malformed when it is not a batch, and TooLarge."""
    # removeprefix of a bytearray copies it in any case.
    text = body[len(UTF8_BOM) :] if body.startswith(UTF8_BOM) else body  # noqa: FURB188
    if content_type.partition(b";")[0].strip().lower() in _NDJSON_TYPES:
        return Document(_lines(text))
    start = _after_space(text, 0)
    if text[start : start + 1] == b"[":
        return Document(_elements(text, start))
    if text[start : start + 1] == b"{":
        return _split_object_or_lines(text, start)
    raise Malformed('expected a JSON array, {"events": [...]}, {"batch": [...]} or one JSON object a line')


def _split_object_or_lines(text: bytes | bytearray, start: int) -> Document:
    """Split a document that begins with an object: an envelope, a single entry, or NDJSON without its Content-Type."""
    error = "not valid JSON: an object has no end, or text follows it"
    if len(text) <= SHORT_BYTES:
        try:
            found = _split_object(text)
        except UNREADABLE as refusal:
            error = str(malformed(refusal))
        else:
            return _envelope(text, (found.events, found.batch), found.sent_at or found.sentAt)
    scanner = _Scanner(text, start, error)
    members: dict[bytes, Text] = {}
    for begin, end in scanner:
        if member := _MEMBER.match(text, begin, end):
            members[member[1]] = memoryview(text)[member.end() : end]
    rest = _after_space(text, scanner.at)
    if rest == len(text):
        lists = members.get(b"events"), members.get(b"batch")
        sent_at = members.get(b"sent_at") or members.get(b"sentAt")
        return _envelope(text, lists, sent_at)
    if b"\n" in text[scanner.at : rest]:
        return Document(_lines(text))
    raise Malformed(error)


def _envelope(text: Text, lists: tuple[JsonText | None, ...], sent_at: JsonText | None) -> Document:
    for raw in lists:
        entries = memoryview(raw or b"")
        if bytes(entries[:1]) == b"[":
            return Document(_elements(entries, 0), _time(sent_at))
    return Document(iter((text,)))


def _time(text: JsonText | None) -> object:
    """Decode a time, unless the text is too long to be one."""
    try:
        return read_json(text) if text and len(text) <= _LONGEST_TIME else None
    except Malformed:
        return None


def _lines(text: bytes | bytearray) -> Iterator[JsonText]:
    """Yield the lines of NDJSON that are not blank."""
    view = memoryview(text)
    begin = _after_space(text, 0)
    while begin < len(text):
        end = text.find(b"\n", begin)
        yield view[begin : end if end >= 0 else len(text)]
        begin = _after_space(text, end) if end >= 0 else len(text)


def _elements(text: Text, start: int) -> Iterator[JsonText]:
    """Return the elements of the array at `start`. No text may follow the array."""
    error = "not valid JSON: an array has no end, or text follows it"
    if len(text) <= SHORT_BYTES:
        try:
            return iter(_split_array(text))
        except UNREADABLE as refusal:
            error = str(malformed(refusal))
    return _scanned_elements(text, start, error)


def _scanned_elements(text: Text, start: int, error: str) -> Iterator[JsonText]:
    view = memoryview(text)
    scanner = _Scanner(text, start, error)
    for begin, end in scanner:
        # The last element is blank when the array is empty, or when a comma follows the last value.
        if not scanner.closed or _after_space(text, begin) < end:
            yield view[begin:end]
    if text[scanner.at - 1 : scanner.at] != b"]" or _after_space(text, scanner.at) < len(text):
        raise Malformed(error)


def _after_space(text: Text, at: int) -> int:
    """Return the end offset of the white space that begins at `at`."""
    while (space := _SPACE.match(text, at, at + _WINDOW)) and space.end() > at:
        at = space.end()
    return at


class _Scanner:
    """Finds the elements of the array or object that opens at `start`."""

    def __init__(self, text: Text, start: int, error: str) -> None:
        """Raise Malformed with the text of `error` when the array or object has no end."""
        self._text = text
        self._error = error
        self._steps = 0
        self.at = start + 1
        """The current offset. After the last element, the offset after the closing bracket."""
        self.closed = False

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield the begin and the end of each element."""
        text, size = self._text, len(self._text)
        begin, depth = self.at, 1
        while self._skip_simple(*(_NESTED if depth > 1 else _TOP)) < size:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise TooLarge("the batch", _MOST_STEPS, "not a setting", "brackets and commas")
            byte = text[self.at]
            if byte == _COMMA:
                yield begin, self.at
                self.at += 1
                begin = self.at
            elif byte in _OPENING:
                depth += self._skip_run(_OPENINGS, _WINDOW)
            else:
                depth -= self._skip_run(_CLOSINGS, min(depth, _WINDOW))
                if depth == 0:
                    self.closed = True
                    yield begin, self.at - 1
                    return
        raise Malformed(self._error)

    def _skip_simple(self, pattern: re.Pattern[bytes], ends: bytes) -> int:
        """Continue to the next comma or bracket that `pattern` does not cover, or to the end. Return the offset."""
        text, size = self._text, len(self._text)
        while True:
            skipped = self._skip_run(pattern, _WINDOW)
            if self.at >= size or text[self.at] in ends:
                return self.at
            if skipped == 0:
                self._skip_long_string()

    def _skip_long_string(self) -> None:
        """Skip a string that is longer than the window, or has no end."""
        self.at += 1
        while self._skip_run(_INSIDE_STRING, _WINDOW):
            pass
        # The current byte is the closing quote, or a backslash at the end of the text.
        self.at += 1

    def _skip_run(self, pattern: re.Pattern[bytes], most: int) -> int:
        """Skip up to `most` bytes that match. Return their number."""
        begin = self.at
        found = pattern.match(self._text, begin, begin + most)
        self.at = found.end() if found else begin
        return self.at - begin
