"""Histograms of milliseconds with log-linear buckets, like HdrHistogram. Pure: no I/O, no clock.

A histogram is stored as labels and counts of a counter. Each value below 128 ms has its own bucket. From 128 ms on,
each doubling has 64 equal buckets, so a bucket is never wider than 1/64 (1.6 %) of the values in it. The sum of two
histograms is a histogram, so the members of a group and successive runs can add their counts.

The series `klag` is stored as `klag:<lowest value of the bucket>` and `klag:sum`. `klag:negative` counts values below
0, which count as 0 in the buckets. `klag:unknown` counts events without a value, which are in no bucket. These two
labels are absent when their count is 0.
"""

from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from math import ceil
from typing import Final, NamedTuple

MAX_MS: Final = 2**32 - 1
"""The largest value (50 days). Larger values count as this one, which bounds the number of buckets."""

TOTAL_LABEL: Final = "totaleventsseen"
QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

_EXACT_BITS: Final = 7  # a value of up to 7 bits has its own bucket; of a larger value, the first 7 bits are kept
_SUM, _NEGATIVE, _UNKNOWN = "sum", "negative", "unknown"


class Histogram(NamedTuple):
    """One series, decoded from the counts."""

    buckets: Mapping[int, int]
    """The number of values in each bucket, by the lowest value of the bucket."""
    sum_ms: int = 0
    negative: int = 0
    unknown: int = 0

    @property
    def values(self) -> int:
        """The number of values."""
        return sum(self.buckets.values())

    @property
    def average_ms(self) -> float:
        """The exact average. 0 without values."""
        return self.sum_ms / max(self.values, 1)

    def quantile_ms(self, share: float) -> float:
        """Return the quantile `share` (0 to 1) of the values, by nearest rank. Return 0 without values.

        The result is exact below 128 ms. From 128 ms on, it is the middle of a bucket, with an error of at most 0.8 %.
        """
        rank, seen = max(1, ceil(share * self.values)), 0
        for lowest in sorted(self.buckets):
            seen += self.buckets[lowest]
            if seen >= rank:
                return (lowest + highest_of(lowest)) / 2
        return 0.0


def bucket_of(value_ms: int) -> int:
    """Return the lowest value of the bucket that contains `value_ms`, which is 0 or more."""
    value_ms = min(value_ms, MAX_MS)
    dropped = max(0, value_ms.bit_length() - _EXACT_BITS)
    return value_ms >> dropped << dropped


def highest_of(lowest: int) -> int:
    """Return the highest value of the bucket whose lowest value is `lowest`."""
    return lowest + (1 << max(0, lowest.bit_length() - _EXACT_BITS)) - 1


def observe(counts: MutableMapping[str, int], series: str, value_ms: int | None) -> None:
    """Count one value. None is an event without a value. `counts` must return 0 for a missing key."""
    if value_ms is None:
        counts[_label(series, _UNKNOWN)] += 1
        return
    if value_ms < 0:
        counts[_label(series, _NEGATIVE)] += 1
        value_ms = 0
    counts[_label(series, bucket_of(value_ms))] += 1
    counts[_label(series, _SUM)] += min(value_ms, MAX_MS)


def histograms(counts: Mapping[str, int]) -> dict[str, Histogram]:
    """Decode all series from a counter's labels. Labels that belong to no series are skipped."""
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
    """Return the rows that users see: the average of each series, under its name, and its quantiles."""
    rows: dict[str, float] = {}
    for series, histogram in histograms(counts).items():
        rows[series] = round(histogram.average_ms, 3)
        for name, share in QUANTILES.items():
            rows[f"{series} {name}"] = histogram.quantile_ms(share)
    rows[TOTAL_LABEL] = counts.get(TOTAL_LABEL, 0)
    return rows


# Events repeat a few hundred labels, and each event has several.
@lru_cache(maxsize=16384)
def _label(series: str, part: int | str) -> str:
    return f"{series}:{part}"
