"""The results of a bench: rounds, medians, ratios to references, as a table and as a line of JSON."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of one contender. None means: not measured."""

    rate: float | None = None
    """Events a second."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    lost: int = 0
    """Acknowledged events that are missing. A reference may lose some, the measured service must not."""
    cpu_us_per_event: float | None = None
    """User and system time of the process under test."""
    rss_mb: float | None = None
    """Resident memory of that process at the end of the round."""


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """The result of one bench. Scripts rely on `as_json`."""

    name: str
    rate: float | None
    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    lost: int
    cpu_us_per_event: float | None
    rss_mb: float | None
    ratios: Mapping[str, float] = field(default_factory=dict)
    """Reference -> median rate divided by the median rate of the reference, from the same run."""

    @property
    def exit_code(self) -> int:
        """0 when nothing was lost."""
        return 1 if self.lost else 0

    def as_json(self) -> str:
        """Return the result as one line of JSON."""
        fields = {name: value for name, value in asdict(self).items() if name != "p999_ms"}
        return json.dumps(fields)


def summed_up(name: str, rounds: Sequence[Round], references: Mapping[str, Sequence[Round]]) -> BenchResult:
    """Return the medians of the rounds, the sum of lost events, and the ratios to the references."""
    rate = median([found.rate for found in rounds])
    ratios = {}
    for reference, its_rounds in references.items():
        its_rate = median([found.rate for found in its_rounds])
        if rate and its_rate:
            ratios[reference] = round(rate / its_rate, 3)
    return BenchResult(
        name=name,
        rate=_rounded(rate),
        p50_ms=_rounded(median([found.p50_ms for found in rounds])),
        p99_ms=_rounded(median([found.p99_ms for found in rounds])),
        p999_ms=_rounded(median([found.p999_ms for found in rounds])),
        lost=sum(found.lost for found in rounds),
        cpu_us_per_event=_rounded(median([found.cpu_us_per_event for found in rounds])),
        rss_mb=_rounded(max((found.rss_mb for found in rounds if found.rss_mb is not None), default=None)),
        ratios=ratios,
    )


def median(values: Sequence[float | None]) -> float | None:
    """Return the median of the values that are not None, or None."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def quantile(ordered: Sequence[float], part: float) -> float | None:
    """Return the quantile `part` of a sorted sequence, or None for an empty one."""
    return ordered[min(len(ordered), math.ceil(part * len(ordered))) - 1] if ordered else None


def latency_round(latencies_s: Sequence[float], *, rate: float | None = None, lost: int = 0) -> Round:
    """Return a round with the quantiles of its latencies."""
    ordered = sorted(latencies_s)
    p50, p99, p999 = (quantile(ordered, part) for part in (0.5, 0.99, 0.999))
    as_ms = [None if found is None else 1000 * found for found in (p50, p99, p999)]
    return Round(rate=rate, p50_ms=as_ms[0], p99_ms=as_ms[1], p999_ms=as_ms[2], lost=lost)


def with_lost(found: Round, lost: int) -> Round:
    """Return the round with its number of lost events."""
    return replace(found, lost=lost)


def table(title: str, rows: Mapping[str, Sequence[Round]]) -> Table:
    """Return a table of the contenders of one bench: medians, and the range of their rates."""
    laid_out = Table(title=title, title_justify="left", box=None)
    laid_out.add_column("median of rounds", no_wrap=True)
    for column in ("events/s", "lowest-highest", "p50 ms", "p99 ms", "p99.9 ms", "CPU us/event", "memory MB", "lost"):
        laid_out.add_column(column, justify="right", no_wrap=True)
    for name, rounds in rows.items():
        found = summed_up(name, rounds, {})
        rates = sorted(each.rate for each in rounds if each.rate is not None)
        laid_out.add_row(
            name,
            _rate_text(found.rate),
            f"{_rate_text(rates[0])}-{_rate_text(rates[-1])}" if rates else "",
            _text(found.p50_ms, 2),
            _text(found.p99_ms, 2),
            _text(found.p999_ms, 2),
            _text(found.cpu_us_per_event, 1),
            _text(found.rss_mb, 0),
            f"{found.lost:,}",
        )
    return laid_out


def _rounded(value: float | None) -> float | None:
    if value is None:
        return None
    return round(value, 0 if abs(value) >= 1000 else 3)  # noqa: PLR2004 - decimals of large numbers are noise


def _rate_text(value: float | None) -> str:
    return _text(value, 1 if value is not None and value < 100 else 0)  # noqa: PLR2004 - then a unit is over 1 %


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
