"""Histograms of milliseconds, kept as labels and counts of a counter. Pure: no I/O, no clock.

The rule of the buckets: a value below 128 ms has a bucket of its own; above, each doubling is divided into 64 equal
buckets, so a bucket is never wider than 1/64 (1.6 %) of the values in it. Sums of such counts are histograms again,
whichever process counted them, so several members of a group and several runs add up.

A series `klag` is stored as `klag:<lowest value of the bucket>`, `klag:sum`, and, where there are any, `klag:negative`
(values below 0, counted as 0) and `klag:unknown` (events without a value, in no bucket).
"""

from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from math import ceil
from typing import Final, NamedTuple

MAX_MS: Final = 2**32 - 1
"""What a larger value (50 days and more) is counted as: it bounds the number of buckets."""

TOTAL_LABEL: Final = "totaleventsseen"
QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

_EXACT_BITS: Final = 7  # values of up to 7 bits are buckets of their own; of larger ones, 7 bits are kept
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
        """How many values were counted."""
        return sum(self.buckets.values())

    @property
    def average_ms(self) -> float:
        """The exact average; 0 without values."""
        return self.sum_ms / max(self.values, 1)

    def quantile_ms(self, share: float) -> float:
        """Return the value that `share` (0 to 1) of all values do not exceed (nearest rank); 0 without values.

        Exact below 128 ms; above, the middle of its bucket, at most 0.8 % away.
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
    """Count one value; None is an event that has none. `counts` must have 0 for what it does not have."""
    if value_ms is None:
        counts[_label(series, _UNKNOWN)] += 1
        return
    if value_ms < 0:
        counts[_label(series, _NEGATIVE)] += 1
        value_ms = 0
    counts[_label(series, bucket_of(value_ms))] += 1
    counts[_label(series, _SUM)] += min(value_ms, MAX_MS)


def histograms(counts: Mapping[str, int]) -> dict[str, Histogram]:
    """Read all series back from a counter's labels; labels that are no part of one are passed over."""
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
    """Return what to show of such a counter: of each series its average, under its own name, and its quantiles."""
    rows: dict[str, float] = {}
    for series, histogram in histograms(counts).items():
        rows[series] = round(histogram.average_ms, 3)
        for name, share in QUANTILES.items():
            rows[f"{series} {name}"] = histogram.quantile_ms(share)
    rows[TOTAL_LABEL] = counts.get(TOTAL_LABEL, 0)
    return rows


# A few hundred buckets are met over and over, each event has several.
@lru_cache(maxsize=16384)
def _label(series: str, part: int | str) -> str:
    return f"{series}:{part}"
