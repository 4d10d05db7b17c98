"""CSV: a row for each line, by the names of the first line."""

import csv
import io
from collections.abc import Iterator
from typing import Final

from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import Rejection, shown
from services.offerserver.importers.rows import FeedRow, FeedRows

_MOST_FIELD_CHARS: Final = 131_072
"""The limit of the module csv, which is one of the whole process."""


class TableRows(FeedRows):
    """Yields the lines as texts by column."""

    def __init__(self, document: FeedDocument, *, delimiter: str) -> None:
        super().__init__()
        self._text = document.text
        self._delimiter = delimiter

    def __iter__(self) -> Iterator[FeedRow]:
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self._delimiter, strict=True)
        try:
            names = [name.strip() for name in next(reader, [])]
            if len(names) < 2:  # noqa: PLR2004 - at least an id and a text
                raise UnreadableFeed(f"the first line has fewer than two columns, with {self._delimiter!r} between")
            for values in reader:
                if len(values) == len(names):
                    yield dict(zip(names, values, strict=True))
                elif any(values):
                    reason = f"has {len(values)} columns; the first line has {len(names)}"
                    self.rejections.append(Rejection(shown(values[0]), "row", shown(" ".join(values)), reason))
        except csv.Error as error:
            self.partial.append(f"the table is not well formed after line {reader.line_num}: {error}")
