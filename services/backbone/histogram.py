"""Histograms of milliseconds, kept as labels and counts of a counter. Pure: no I/O, no clock.

Buckets: each value below 128 ms has its own bucket. From 128 ms on, each range from 2**n to 2**(n+1) has 64 equal
buckets, so a bucket is never wider than 1/64 (1.6 %) of the values in it. The sum of two histograms is a histogram, so
the counts of several members and several runs can be added.

A series `klag` is stored as `klag:<lowest value of the bucket>`, `klag:sum`, and, if they are not 0, `klag:negative`
(values below 0, counted as 0) and `klag:unknown` (events without a value, in no bucket).
"""

from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from math import ceil
from typing import Final, NamedTuple

MAX_MS: Final = 2**32 - 1
"""The maximum value: a larger one (50 days and more) counts as this. It bounds the number of buckets."""

TOTAL_LABEL: Final = "totaleventsseen"
QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

_EXACT_BITS: Final = 7  # a value of up to 7 bits has its own bucket; a larger value keeps its first 7 bits
_SUM, _NEGATIVE, _UNKNOWN = "sum", "negative", "unknown"


class Histogram(NamedTuple):
    """One series, read back from the counts."""

    buckets: Mapping[int, int]
    """Lowest value of a bucket -> number of values in it."""
    sum_ms: int = 0
    negative: int = 0
    unknown: int = 0

    @property
    def values(self) -> int:
        """The number of counted values."""
        return sum(self.buckets.values())

    @property
    def average_ms(self) -> float:
        """The exact average; 0 without values."""
        return self.sum_ms / max(self.values, 1)

    def quantile_ms(self, share: float) -> float:
        """Return the quantile `share` (0 to 1) of the values by nearest rank; 0 without values.

        It is exact below 128 ms. Otherwise it is the middle of a bucket, at most 0.8 % from the exact value.
        """
        rank, seen = max(1, ceil(share * self.values)), 0
        for lowest in sorted(self.buckets):
            seen += self.buckets[lowest]
            if seen >= rank:
                return (lowest + highest_of(lowest)) / 2
        return 0.0


def bucket_of(value_ms: int) -> int:
    """Return the lowest value of the bucket that holds `value_ms`, which is 0 or more."""
    value_ms = min(value_ms, MAX_MS)
    dropped = max(0, value_ms.bit_length() - _EXACT_BITS)
    return value_ms >> dropped << dropped


def highest_of(lowest: int) -> int:
    """Return the highest value of the bucket whose lowest value is `lowest`."""
    return lowest + (1 << max(0, lowest.bit_length() - _EXACT_BITS)) - 1


def observe(counts: MutableMapping[str, int], series: str, value_ms: int | None) -> None:
    """Count one value, or None for an event without a value. `counts` must return 0 for missing labels."""
    if value_ms is None:
        counts[_label(series, _UNKNOWN)] += 1
        return
    if value_ms < 0:
        counts[_label(series, _NEGATIVE)] += 1
        value_ms = 0
    counts[_label(series, bucket_of(value_ms))] += 1
    counts[_label(series, _SUM)] += min(value_ms, MAX_MS)


def histograms(counts: Mapping[str, int]) -> dict[str, Histogram]:
    """Read all series back from a counter's labels; other labels are ignored."""
    buckets: dict[str, dict[int, int]] = {}
    others: dict[str, dict[str, int]] = {}
    for label, count in counts.items():
        series, colon, part = label.rpartition(":")
        if not colon:
            continue
        if part.isascii() and part.isdigit():
            buckets.setdefault(series, {})[int(part)] = count
        else:
            others.setdefault(series, {})[part] = count
    return {
        series: Histogram(
            buckets=buckets.get(series, {}),
            sum_ms=others.get(series, {}).get(_SUM, 0),
            negative=others.get(series, {}).get(_NEGATIVE, 0),
            unknown=others.get(series, {}).get(_UNKNOWN, 0),
        )
        for series in sorted(buckets.keys() | others.keys())
    }


def summary(counts: Mapping[str, int]) -> dict[str, float]:
    """Return the rows to show: the average of each series under the name of the series, and its quantiles."""
    rows: dict[str, float] = {}
    for series, histogram in histograms(counts).items():
        rows[series] = round(histogram.average_ms, 3)
        for name, share in QUANTILES.items():
            rows[f"{series} {name}"] = histogram.quantile_ms(share)
    rows[TOTAL_LABEL] = counts.get(TOTAL_LABEL, 0)
    return rows


# Events use the same few hundred buckets, several per event.
@lru_cache(maxsize=16384)
def _label(series: str, part: int | str) -> str:
    return f"{series}:{part}"
