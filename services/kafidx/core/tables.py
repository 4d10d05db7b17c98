"""Counters as tables: search, sort, divide into pages, and write as JSON or CSV."""

import csv
import heapq
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args
from urllib.parse import parse_qsl

import msgspec

from services.backbone.histogram import QUANTILES, Histogram, highest_of, histograms
from services.kafidx.core.query import BadQuery

PAGE_ROWS: Final = 100
_MAX_PAGE: Final = 10_000_000
_MAX_SEARCH_CHARS: Final = 200
_SLICE_ROWS: Final = 1000
"""The number of rows in a slice. Writing one as CSV takes 2 ms of CPU time."""
_SORTED_AT_ONCE: Final = 5000

_Key = TypeVar("_Key", tuple[float, str], tuple[str, str])
SortBy = Literal["label", "count"]
Order = Literal["asc", "desc"]

# Text that a spreadsheet reads as a formula, also after spaces and in full-width characters. The apostrophe, our mark,
# is included so that a reader can remove it again. The export of the live page (static/live/export.js) does the same.
_FORMULA: Final = re.compile(r"[\s']*[=+\-@|%\uff1d\uff0b\uff0d\uff20]|['\t\r\n]")
# A formula after a separator other than the comma, where some spreadsheets start a new cell. The lookahead skips our
# mark, so that apostrophes of the original text are kept. It skips no separator, so that the time is linear.
_INNER_FORMULA: Final = re.compile(r"([;\t\r\n])(?=(?:[^\S\t\r\n]|['\"])*[=+\-@|%\uff1d\uff0b\uff0d\uff20])")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table."""

    label: str
    count: float


@dataclass(frozen=True)
class TableQuery:
    """The parsed query of a table: order, page, search and format."""

    sort: SortBy = "count"
    order: Order = "desc"
    page: int | None = None
    """The number of the page, from 1. None: all rows."""
    q: str = ""
    format: Literal["json", "csv"] = "json"

    @property
    def is_plain(self) -> bool:
        """Whether Redis can return the page: sorted by count, without a search."""
        return self.sort == "count" and not self.q


class Table(NamedTuple):
    """A page of a counter."""

    rows: Sequence[Line]
    total_rows: int
    page: int
    pages: int
    max_count: float
    """The highest count of all rows that match, on all pages."""


def parse_table_query(query: str, *, page: int | None, kind: str = "counts") -> TableQuery:
    """Parse a query string. `page` is the default for the parameter of this name. Raises BadQuery."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    sort = given.get("sort") or ("label" if kind == "histograms" else "count")
    _one_of("sort", sort, get_args(SortBy))
    order = given.get("order") or ("asc" if sort == "label" else "desc")
    _one_of("order", order, get_args(Order))
    file_format = given.get("format") or "json"
    _one_of("format", file_format, ("json", "csv"))
    number = given.get("page") or ""
    if number and (not re.fullmatch(r"[0-9]{1,8}", number, re.ASCII) or not 1 <= int(number) <= _MAX_PAGE):
        raise BadQuery("page", 0, f"expected a number from 1 to {_MAX_PAGE}, found {number[:20]!r}", number)
    q = given.get("q", "")
    if len(q) > _MAX_SEARCH_CHARS:
        raise BadQuery("q", _MAX_SEARCH_CHARS, f"longer than {_MAX_SEARCH_CHARS} characters", q)
    return TableQuery(sort, order, int(number) if number else page, q, file_format)  # type: ignore[arg-type]  # checked


def cut(counts: Mapping[str, float], query: TableQuery) -> Table:
    """Return the rows of a counter that a query selects.

    It may run in a thread, because no step holds the interpreter lock for long.
    """
    text = query.q.casefold()
    found = {label: n for label, n in counts.items() if text in label.casefold()} if text else counts
    page, pages, first = page_of(query.page, len(found))
    shown = slice(None) if query.page is None else slice(first, first + PAGE_ROWS)
    rows: list[Line]
    if query.sort == "label":
        by_label = _sorted([(label.casefold(), label) for label in found], reverse=query.order == "desc")
        rows = [Line(label, found[label]) for _, label in by_label[shown]]
    else:
        by_count = _sorted([(count, label) for label, count in found.items()], reverse=query.order == "desc")
        rows = [Line(label, count) for count, label in by_count[shown]]
    return Table(rows, len(found), page, pages, max(found.values(), default=0))


def _sorted(keys: Sequence[_Key], *, reverse: bool) -> list[_Key]:
    """Sort in parts and merge them.

    One sort of 200,000 keys holds the interpreter lock for 350 ms. This function holds it for 20 ms.
    """
    parts = (
        sorted(keys[first : first + _SORTED_AT_ONCE], reverse=reverse) for first in range(0, len(keys), _SORTED_AT_ONCE)
    )
    return list(heapq.merge(*parts, reverse=reverse))


def page_of(page: int | None, total: int) -> tuple[int, int, int]:
    """Return the page, the number of pages, and the index of its first row.

    A page number after the last page becomes the last page.
    """
    pages = max(1, -(-total // PAGE_ROWS)) if page is not None else 1
    number = min(page or 1, pages)
    return number, pages, (number - 1) * PAGE_ROWS


def charts(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the histograms of a counter for JSON. The page relies on the keys."""
    return [_chart(series, histogram) for series, histogram in histograms(counts).items()]


def csv_slices(title: str, rows: Sequence[Line]) -> Iterator[bytes]:
    """Yield a table as RFC 4180 CSV, in slices of rows. No spreadsheet reads one of its cells as a formula."""
    yield _csv([(neutral(title), "count")])
    for part in _slices(rows):
        yield _csv((neutral(line.label), line.count) for line in part)


def json_slices(head: Mapping[str, Any], rows: Sequence[Line]) -> Iterator[bytes]:
    """Yield a JSON object with the members of `head`, which is not empty, and `rows`, in slices of rows."""
    yield msgspec.json.encode(head)[:-1] + b',"rows":['
    comma = b""
    for part in _slices(rows):
        yield comma + msgspec.json.encode(part)[1:-1]
        comma = b","
    yield b"]}"


def _slices(rows: Sequence[Line]) -> Iterator[Sequence[Line]]:
    return (rows[first : first + _SLICE_ROWS] for first in range(0, len(rows), _SLICE_ROWS))


def _csv(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def neutral(text: str) -> str:
    """Add an apostrophe before text that a spreadsheet reads as a formula: at the start, and after other separators.

    To restore the text, remove one apostrophe from the start. Then remove one after each semicolon, tab or line break
    that is followed by an apostrophe, any apostrophes, spaces or quotes, and a formula character.
    """
    inside = _INNER_FORMULA.sub(r"\1'", text)
    return f"'{inside}" if _FORMULA.match(inside) else inside


def _chart(series: str, histogram: Histogram) -> dict[str, Any]:
    return {
        "series": series,
        "values": histogram.values,
        "average_ms": round(histogram.average_ms, 3),
        **{name: histogram.quantile_ms(share) for name, share in QUANTILES.items()},
        "negative": histogram.negative,
        "unknown": histogram.unknown,
        "buckets": [[lowest, highest_of(lowest), count] for lowest, count in sorted(histogram.buckets.items())],
    }


def _one_of(parameter: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise BadQuery(parameter, 0, f"expected {' or '.join(allowed)}, found {value[:50]!r}", value)
