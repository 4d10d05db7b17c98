"""CSV: a row for each line, by the names of the first line."""

import csv
import io
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import Rejection, shown
from services.offerserver.importers.rows import FeedRow, FeedRows

# The limit is one of the whole process. Documents are bounded, and rows with long texts are rejected.
csv.field_size_limit(2**31 - 1)
_AFTER_LAST_LINE: Final = "\x00"
"""A line of its own after the table, unless the last quotation mark is not closed."""


class TableRows(FeedRows):
    """Yields the lines as texts by column."""

    def __init__(self, document: FeedDocument, *, delimiter: str) -> None:
        super().__init__()
        self._text = document.text
        self._delimiter = delimiter

    def __iter__(self) -> Iterator[FeedRow]:
        text = self._text.replace(_AFTER_LAST_LINE, " ")
        lines = chain(io.StringIO(text, newline=""), [_AFTER_LAST_LINE])
        # Not strict, which would end the table at a quotation mark within a field.
        reader = csv.reader(lines, delimiter=self._delimiter)
        try:
            names = [name.strip() for name in next(reader)]
            if len(names) < 2:  # noqa: PLR2004 - at least an id and a text
                raise UnreadableFeed(f"the first line has fewer than two columns, with {self._delimiter!r} between")
            if names[-1].endswith(_AFTER_LAST_LINE):
                raise UnreadableFeed("the first line has a quotation mark that is not closed")
            yield from self._rows(reader, names)
        except csv.Error as error:
            self.partial.append(f"the table is not well formed after line {reader.line_num}: {error}")

    def _rows(self, reader: Any, names: list[str]) -> Iterator[FeedRow]:
        first_line = reader.line_num + 1
        for values in reader:
            if values == [_AFTER_LAST_LINE]:
                return
            is_cut = bool(values) and values[-1].endswith(_AFTER_LAST_LINE)
            if len(values) == len(names) and not is_cut:
                yield dict(zip(names, values, strict=True))
            elif any(values):
                reason = f"has {len(values)} columns; the first line has {len(names)}"
                self.reject(Rejection(shown(values[0]), "row", shown(" ".join(values)), reason))
                if (is_cut or reader.line_num > first_line) and not self.partial:
                    self.partial.append(f"line {first_line} has a quotation mark that is not closed in it")
            first_line = reader.line_num + 1
