"""FeedRows: the rows of a document, and what is wrong with the document as a whole."""

import io
import re
from collections.abc import Iterator
from typing import Any, Final

import ijson

from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import InvalidRow, Rejection, shown

MOST_DEPTH: Final = 64
"""The deepest nesting of JSON. ijson builds the path of each value, which takes 50 GB at a depth of 100,000."""
_STRING: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS: Final = re.compile(r"[^\[\]{}]+")

FeedRow = dict[str, Any]


class FeedRows:
    """Yields rows. Its attributes are complete when it has ended."""

    def __init__(self) -> None:
        self.partial: list[str] = []
        """Why the document is incomplete."""
        self.removed: set[str] = set()
        """The ids that the source reports as removed."""
        self.rejections: list[Rejection] = []
        """Rows that can't be yielded."""
        self.remarks: list[Rejection] = []

    def __iter__(self) -> Iterator[FeedRow]:
        """Yield each row. Raises UnreadableFeed."""
        raise NotImplementedError


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
                self.rejections.append(Rejection("", "row", shown(value), "is not an object"))


def json_values(text: str, path: str, partial: list[str]) -> Iterator[Any]:
    """Yield the values at a path of a JSON document. A document that is not well formed adds a reason to `partial`.

    Raises UnreadableFeed for a document that is nested too deeply.
    """
    if _is_too_deep(text):
        raise UnreadableFeed(f"the JSON is nested deeper than {MOST_DEPTH} levels")
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


def _is_too_deep(text: str) -> bool:
    depth = 0
    for bracket in _NO_BRACKETS.sub("", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MOST_DEPTH:
            return True
    return False
