"""Values that only the pages show. The JSON and the CSV have the labels and numbers behind them, unchanged."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from services.backbone.histogram import QUANTILES
from services.kafidx.core.tables import Line, Table

_MARK: Final = re.compile(r"\([a-z]\)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNITS: Final = ((1_000, 1, "ms"), (100_000, 1_000, "s"), (6_000_000, 60_000, "min"))


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table on a page."""

    kind: str
    """The kind of the label, such as `tracker pod`. Empty for a counter whose labels are all of one kind."""
    text: str
    """The label without the mark of its kind."""
    count: float
    most: float
    """The count of a bar of the full width."""


class Timing(NamedTuple):
    """One histogram on a page."""

    series: str
    meaning: str
    facts: Sequence[tuple[str, str]]
    chart: Mapping[str, Any]
    """The histogram, as in the JSON. static/counters/histogram.js draws it."""


def kinds(legend: Mapping[str, str]) -> dict[str, str]:
    """Return the kinds of labels by their marks. The legend has the mark, such as `(p)`, and begins with the kind."""
    return {mark: meaning.partition(",")[0] for mark, meaning in legend.items() if _MARK.fullmatch(mark)}


def rows(table: Table, legend: Mapping[str, str]) -> list[TableRow]:
    """Return the rows of a page of a table.

    A bar is the share of the highest count of all pages. In a counter with several kinds of labels it is the share of
    the highest count of the same kind on this page: one pod has as many events as thousands of addresses.
    """
    named = kinds(legend)
    split = [(*_split(line, named), line.count) for line in table.rows]
    most: dict[str, float] = {}
    for kind, _, count in split:
        most[kind] = max(count, most.get(kind, 0))
    return [TableRow(kind, text, count, most[kind] if kind else table.max_count) for kind, text, count in split]


def timings(charts: Sequence[Mapping[str, Any]], table: Table, legend: Mapping[str, str]) -> list[Timing]:
    """Return the histograms whose rows a table has, in the order of the table."""
    by_series = {chart["series"]: chart for chart in charts}
    shown = dict.fromkeys(line.label.partition(" ")[0] for line in table.rows)
    return [
        Timing(series, legend.get(series, ""), _facts(by_series[series]), by_series[series])
        for series in shown
        if series in by_series
    ]


def duration(ms: float) -> str:
    """Return a duration in a readable unit: `4.5 ms`, `257 ms`, `1.5 s`, `3 min`. From 100 on it has no decimal."""
    for limit, divisor, unit in _UNITS:
        if ms < limit:
            return f"{_short(ms / divisor)} {unit}"
    return f"{_short(ms / 3_600_000)} h"


def visible(text: str) -> str:
    r"""Return a text with its control characters as `\xNN`, except for tabs and line breaks."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{round(value, 1):g}"  # noqa: PLR2004 - see the docstring of duration


def _split(line: Line, named: Mapping[str, str]) -> tuple[str, str]:
    mark, _, text = line.label.partition(" ")
    return (named[mark], text) if mark in named else ("", line.label)


def _facts(chart: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [("values", f"{chart['values']:,}"), ("average", duration(chart["average_ms"]))]
    facts += [(name, duration(chart[name])) for name in QUANTILES]
    facts += [("below 0", f"{chart['negative']:,}")] if chart["negative"] else []
    facts += [("without a time", f"{chart['unknown']:,}")] if chart["unknown"] else []
    return facts
