"""BulkReader: reads the lists of a JSON object piece by piece, so that a large body needs no memory."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, NoReturn

_WHITESPACE: Final = " \t\r\n"


class MalformedBody(ValueError):
    """The body is not the expected JSON. It cannot be read further."""


class BulkItem(NamedTuple):
    """An element of one of the lists."""

    name: str
    position: int
    value: Any
    size: int
    """The characters of its JSON."""


class BulkReader:
    """Reads `{"<name>": [...], ...}`. Other members are read and ignored.

    Feed large pieces: an element that is incomplete is parsed again with the next piece.
    """

    def __init__(self, names: frozenset[str], *, max_element: int) -> None:
        """Refuse an element of more than `max_element` characters. It bounds the memory."""
        self._names = names
        self._max_element = max_element
        self._decode_utf8 = codecs.getincrementaldecoder("utf-8")().decode
        self._json = json.JSONDecoder(parse_constant=_refuse_constant)
        self._text = ""
        self._position = 0
        self._expected = "begin"
        self._name = ""
        self._counts: dict[str, int] = {}
        self._has_list = False
        self._ignored = ""

    def feed(self, data: bytes, *, is_last: bool = False) -> Iterator[BulkItem]:
        """Yield the elements that are complete. Raises MalformedBody."""
        try:
            more = self._decode_utf8(data, is_last)
        except UnicodeDecodeError:
            raise MalformedBody("the body is not UTF-8") from None
        self._text, self._position = self._text[self._position :] + more, 0
        while self._expected != "end":
            if not self._skip_whitespace():
                break
            begun = self._position, self._expected
            item = self._read(is_last=is_last)
            if item is not None:
                yield item
            elif (self._position, self._expected) == begun:  # incomplete
                if len(self._text) - self._position > self._max_element:
                    raise MalformedBody(f"an element has more than {self._max_element} characters")
                return
        if self._expected == "end" and self._skip_whitespace():
            raise MalformedBody("there is more text after the end of the object")
        if is_last and self._expected != "end":
            raise MalformedBody("the body is incomplete")
        if is_last and self._ignored and not self._has_list:
            raise MalformedBody(f"{self._ignored} is none of the lists {', '.join(sorted(self._names))}")

    def _skip_whitespace(self) -> bool:
        """Return whether there is other text."""
        text, position = self._text, self._position
        while position < len(text) and text[position] in _WHITESPACE:
            position += 1
        self._position = position
        return position < len(text)

    def _read(self, *, is_last: bool) -> BulkItem | None:  # noqa: C901, PLR0912 - one branch for each state
        """Read the next token. Return an element, or None. Nothing is read if the token is incomplete."""
        character = self._text[self._position]
        match self._expected:
            case "begin":
                self._take(character, "{", "first_key", "the body is not a JSON object")
            case "first_key" | "key":
                if character == "}" and self._expected == "first_key":
                    self._take(character, "}", "end")
                elif (key := self._value(is_last=is_last)) is not None:
                    if not isinstance(key[0], str):
                        raise MalformedBody("a name is not a string")
                    self._name, self._expected = key[0], "colon"
            case "colon":
                self._take(character, ":", "value")
            case "value":
                if self._name in self._names:
                    self._take(character, "[", "first_element", f"{self._name} is not a list")
                    self._has_list = True
                elif self._value(is_last=is_last) is not None:
                    # The error contains the name, and half of a surrogate pair has no encoding.
                    self._ignored = self._name[:64].encode(errors="replace").decode()
                    self._expected = "comma_or_end"
            case "comma_or_end":
                self._end_or_continue(character, "}", "end", "key")
            case "first_element" | "element":
                if character == "]" and self._expected == "first_element":
                    self._take(character, "]", "comma_or_end")
                elif (element := self._value(is_last=is_last)) is not None:
                    self._expected = "comma_or_close"
                    index = self._counts.get(self._name, 0)
                    self._counts[self._name] = index + 1
                    return BulkItem(self._name, index, *element)
            case "comma_or_close":
                self._end_or_continue(character, "]", "comma_or_end", "element")
        return None

    def _end_or_continue(self, character: str, end: str, ended: str, continued: str) -> None:
        if character == end:
            self._take(character, end, ended)
        else:
            self._take(character, ",", continued)

    def _take(self, character: str, wanted: str, expected: str, error: str = "") -> None:
        if character != wanted:
            raise MalformedBody(error or f"{wanted!r} is expected and {character!r} was found")
        self._position += 1
        self._expected = expected

    def _value(self, *, is_last: bool) -> tuple[Any, int] | None:
        """Return the next value and its number of characters; None while it is incomplete."""
        try:
            value, end = self._json.raw_decode(self._text, self._position)
        except json.JSONDecodeError as error:
            if is_last:
                raise MalformedBody(f"the JSON is malformed: {error.msg}") from None
            return None
        except (ValueError, RecursionError) as error:
            raise MalformedBody(f"the JSON is not allowed: {error}") from None
        size = end - self._position
        if size > self._max_element:
            raise MalformedBody(f"an element has more than {self._max_element} characters")
        # A number at the end of the text may continue.
        if end == len(self._text) and not is_last:
            return None
        self._position = end
        return value, size


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBody(f"{name} is not JSON")
