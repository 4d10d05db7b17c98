"""FeedRows: the rows of a document, and what is wrong with the document as a whole."""

import io
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import ijson

from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import InvalidRow, Rejection, shown

MOST_DEPTH: Final = 64
"""The deepest nesting of JSON. ijson builds the path of each value, which takes 50 GB at a depth of 100,000."""
_STRING_PATTERN: Final = r'"(?:[^"\\]++|\\.)*+"?'
_STRING: Final = re.compile(_STRING_PATTERN, re.DOTALL)
_LONG_NUMBER: Final = re.compile(r"\d{19}|[eE]\+?\d{3}|NaN|Infinity")
"""What can be in a number that ijson does not read."""
_STRING_OR_NUMBER: Final = re.compile(
    rf"{_STRING_PATTERN}|-?(?:\d++(?:\.\d++)?+(?:[eE][+-]?\d++)?+|NaN|Infinity)", re.DOTALL
)
_MOST_INTEGER_CHARS: Final = 18
"""Integers of so many characters have less than 64 bits."""
MOST_REJECTED: Final = 200_000
"""The most rows of a document that may not be readable. Each is in memory."""
_NO_BRACKETS: Final = re.compile(r"[^\[\]{}]+")

FeedRow = dict[str, Any]


class FeedRows:
    """Yields rows. Its attributes are complete when it has ended."""

    def __init__(self) -> None:
        self.partial: list[str] = []
        """Why the document is incomplete."""
        self.removed: list[FeedRow] = []
        """The rows that the source reports as removed, with the fields that their ids are made of."""
        self.rejections: list[Rejection] = []
        """Rows that can't be yielded."""
        self.remarks: list[Rejection] = []

    def __iter__(self) -> Iterator[FeedRow]:
        """Yield each row. Raises UnreadableFeed."""
        raise NotImplementedError

    def reject(self, rejection: Rejection) -> None:
        """Note a row that can't be yielded. Raises UnreadableFeed for too many."""
        self.rejections.append(rejection)
        if len(self.rejections) > MOST_REJECTED:
            raise UnreadableFeed(f"more than {MOST_REJECTED} rows are not readable")


class JsonRows(FeedRows):
    """The objects of a list in a JSON document, one after the other: also those before the end of a half document."""

    def __init__(self, document: FeedDocument, path: str) -> None:
        """`path` has the names of ijson: `features.item` are the elements of the list `features`."""
        super().__init__()
        self._text = document.text
        self._path = path

    def __iter__(self) -> Iterator[FeedRow]:
        for value in json_values(self._text, self._path, self.partial):
            if isinstance(value, dict):
                yield value
            else:
                self.reject(Rejection("", "row", shown(value), "is not an object"))


def json_values(text: str, path: str, partial: list[str]) -> Iterator[Any]:
    """Yield the values at a path of a JSON document. A document that is not well formed adds a reason to `partial`.

    An integer of more than 64 bits, a number above those of a double, NaN and Infinity are yielded as texts. So each
    row can be judged for itself: ijson would end at the first one.

    Raises UnreadableFeed for a document that is nested too deeply.
    """
    outside = _STRING.sub("", text)
    if _is_too_deep(outside):
        raise UnreadableFeed(f"the JSON is nested deeper than {MOST_DEPTH} levels")
    if _LONG_NUMBER.search(outside) is not None:
        text = _STRING_OR_NUMBER.sub(_readable, text)
    del outside  # as long as the document
    try:
        yield from ijson.items(io.BytesIO(text.encode("utf-8", "replace")), path, use_float=True)
    except ijson.JSONError as error:
        reason = str(error).split("\n", 1)[0]
        partial.append(f"the JSON is not well formed: {shown(reason)}")


def text_of(row: FeedRow, *names: str) -> str:
    """Return the first of these fields that has a text, else an empty text. For ids of rejected rows."""
    return next((str(row[name]) for name in names if isinstance(row.get(name), str | int)), "")


def required(value: str, field: str) -> str:
    """Return a text. Raises InvalidRow if it is empty."""
    if not value:
        raise InvalidRow(field, value, "is missing")
    return value


def _readable(token: re.Match[str]) -> str:
    """Return a string or number as it is, or as a string if ijson does not read it."""
    found = token[0]
    if found[0] == '"':
        return found
    if found.lstrip("-").isdigit():
        is_readable = len(found) <= _MOST_INTEGER_CHARS or (
            len(found) <= _MOST_INTEGER_CHARS + 2 and -(2**63) <= int(found) < 2**63
        )
    else:
        is_readable = math.isfinite(float(found))
    return found if is_readable else f'"{found}"'


def _is_too_deep(text_without_strings: str) -> bool:
    depth = 0
    for bracket in _NO_BRACKETS.sub("", text_without_strings):
        depth += 1 if bracket in "[{" else -1
        if depth > MOST_DEPTH:
            return True
    return False
