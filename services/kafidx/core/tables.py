"""A counter as a table: sorted, searched, cut into pages, and written as CSV."""

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
from services.kafidx.core.errors import BadQuery

PAGE_ROWS: Final = 100
_MAX_PAGE: Final = 10_000_000
_MAX_SOUGHT: Final = 200
_SLICE_ROWS: Final = 1000
"""Rows that are written at once: 2 ms of CPU as CSV."""
_SORTED_AT_ONCE: Final = 5000

_Key = TypeVar("_Key", tuple[float, str], tuple[str, str])
SortBy = Literal["label", "count"]
Order = Literal["asc", "desc"]

# What a spreadsheet takes for a formula, also behind spaces and in full width; and our own mark, so that it can be
# undone. The live page's export has the same rule.
_FORMULA: Final = re.compile(r"[\s']*[=+\-@|%\uff1d\uff0b\uff0d\uff20]|['\t\r\n]")
# Where a spreadsheet whose separator is not the comma begins a cell of its own. What the lookahead passes over holds
# our mark, so that marks of the text itself are kept, and nothing that begins a cell, so that it stays linear.
_INNER_FORMULA: Final = re.compile(r"([;\t\r\n])(?=(?:[^\S\t\r\n]|['\"])*[=+\-@|%\uff1d\uff0b\uff0d\uff20])")


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table."""

    label: str
    count: float


@dataclass(frozen=True)
class TableQuery:
    """What part of a table is wanted, and how."""

    sort: SortBy = "count"
    order: Order = "desc"
    page: int | None = None
    """From 1; None: all rows."""
    q: str = ""
    format: Literal["json", "csv"] = "json"

    @property
    def is_plain(self) -> bool:
        """Whether Redis itself can cut the page: by count, without a search."""
        return self.sort == "count" and not self.q


class Table(NamedTuple):
    """A page of a counter."""

    rows: Sequence[Line]
    total_rows: int
    page: int
    pages: int
    max_count: float
    """Of all rows that were asked for, on whatever page."""


def parse_table_query(query: str, *, page: int | None, kind: str = "counts") -> TableQuery:
    """Read a query string; `page` is the one of a query without any. Raises BadQuery."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    sort = given.get("sort") or ("label" if kind == "histograms" else "count")
    _one_of("sort", sort, get_args(SortBy))
    order = given.get("order") or ("asc" if sort == "label" else "desc")
    _one_of("order", order, get_args(Order))
    wanted = given.get("format") or "json"
    _one_of("format", wanted, ("json", "csv"))
    number = given.get("page") or ""
    if number and (not re.fullmatch(r"[0-9]{1,8}", number, re.ASCII) or not 1 <= int(number) <= _MAX_PAGE):
        raise BadQuery("page", 0, f"expected a number from 1 on, found {number[:20]!r}", number)
    q = given.get("q", "")
    if len(q) > _MAX_SOUGHT:
        raise BadQuery("q", _MAX_SOUGHT, f"longer than {_MAX_SOUGHT} characters", q)
    return TableQuery(sort, order, int(number) if number else page, q, wanted)  # type: ignore[arg-type]  # checked


def cut(counts: Mapping[str, float], query: TableQuery) -> Table:
    """Search, sort and cut a whole counter. It may run in a thread: no step keeps the interpreter for long."""
    sought = query.q.casefold()
    found = {label: n for label, n in counts.items() if sought in label.casefold()} if sought else counts
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
    """Sort in parts and merge them: one sort of 200,000 keys keeps the interpreter for 350 ms, this one for 20."""
    parts = (
        sorted(keys[first : first + _SORTED_AT_ONCE], reverse=reverse) for first in range(0, len(keys), _SORTED_AT_ONCE)
    )
    return list(heapq.merge(*parts, reverse=reverse))


def page_of(page: int | None, total: int) -> tuple[int, int, int]:
    """Return page, pages and the index of the page's first row; a page after the last one is the last."""
    pages = max(1, -(-total // PAGE_ROWS)) if page is not None else 1
    number = min(page or 1, pages)
    return number, pages, (number - 1) * PAGE_ROWS


def charts(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the histograms of a counter as plain values; the keys are a promise to the page."""
    return [_chart(series, histogram) for series, histogram in histograms(counts).items()]


def csv_slices(title: str, rows: Sequence[Line]) -> Iterator[bytes]:
    """Write a table as RFC 4180 CSV whose cells no spreadsheet takes for formulas, a slice of rows at a time."""
    yield _csv([(neutral(title), "count")])
    for part in _slices(rows):
        yield _csv((neutral(line.label), line.count) for line in part)


def json_slices(head: Mapping[str, Any], rows: Sequence[Line]) -> Iterator[bytes]:
    """Write a JSON object with the members of `head`, which has some, and then `rows`, a slice of rows at a time."""
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
    """Put an apostrophe before what a spreadsheet may take for a formula: at the begin, and where it may cut a cell.

    To read it back, take one off the begin, and one off behind each semicolon, tab or line break that is followed by
    apostrophes (with spaces or quotes among them, or none) and then by a formula character.
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
