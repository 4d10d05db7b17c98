"""A counter as a table: sorted, searched, cut into pages, and written as CSV."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args
from urllib.parse import parse_qsl

from services.backbone.histogram import QUANTILES, Histogram, highest_of, histograms
from services.kafidx.core.faults import BadQuery

PAGE_ROWS: Final = 100
_MAX_PAGE: Final = 10_000_000
_MAX_SOUGHT: Final = 200

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


def cut(lines: Iterable[Line], query: TableQuery) -> Table:
    """Search, sort and cut a whole counter."""
    sought = query.q.casefold()
    rows = [line for line in lines if sought in line.label.casefold()] if sought else list(lines)
    rows.sort(
        key=(lambda line: (line.label.casefold(), line.label))
        if query.sort == "label"
        else (lambda line: (line.count, line.label)),
        reverse=query.order == "desc",
    )
    page, pages, first = page_of(query.page, len(rows))
    shown = rows if query.page is None else rows[first : first + PAGE_ROWS]
    return Table(shown, len(rows), page, pages, max((line.count for line in rows), default=0))


def page_of(page: int | None, total: int) -> tuple[int, int, int]:
    """Return page, pages and the index of the page's first row; a page after the last one is the last."""
    pages = max(1, -(-total // PAGE_ROWS)) if page is not None else 1
    number = min(page or 1, pages)
    return number, pages, (number - 1) * PAGE_ROWS


def charts(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the histograms of a counter as plain values; the keys are a promise to the page."""
    return [_chart(series, histogram) for series, histogram in histograms(counts).items()]


def as_csv(title: str, rows: Iterable[Line]) -> str:
    """Write a table as RFC 4180 CSV whose cells no spreadsheet takes for formulas."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([neutral(title), "count"])
    writer.writerows((neutral(line.label), line.count) for line in rows)
    return text.getvalue()


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
