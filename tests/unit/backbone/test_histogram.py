import math
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.histogram import MAX_MS, TOTAL_LABEL, bucket_of, highest_of, histograms, observe, summary

values = st.one_of(st.integers(0, 300), st.integers(0, MAX_MS))


def counted(series: str, numbers: list[int | None]) -> dict[str, int]:
    counts: defaultdict[str, int] = defaultdict(int)
    for number in numbers:
        observe(counts, series, number)
    return counts


@given(values)
def test_bucket_holds_its_value_and_is_at_most_a_sixty_fourth_wide(value: int) -> None:
    lowest = bucket_of(value)
    highest = highest_of(lowest)
    assert lowest <= value <= highest
    assert bucket_of(lowest) == bucket_of(highest) == lowest
    assert bucket_of(highest + 1) == min(highest + 1, bucket_of(MAX_MS))
    assert (highest - lowest + 1) / max(lowest, 1) <= 1 / 64 or lowest == highest


def test_small_values_are_exact() -> None:
    assert [bucket_of(value) for value in range(128)] == list(range(128))
    assert [highest_of(value) for value in range(128)] == list(range(128))


def test_number_of_buckets_is_bounded() -> None:
    lowest, buckets = 0, 1
    while highest_of(lowest) < MAX_MS:
        lowest = highest_of(lowest) + 1
        buckets += 1
    assert buckets == 128 + 25 * 64
    assert bucket_of(MAX_MS * 1000) == lowest


@given(st.lists(values, min_size=1, max_size=200), st.sampled_from([0.0, 0.01, 0.5, 0.95, 0.99, 1.0]))
def test_quantiles_are_within_the_guaranteed_error(numbers: list[int], share: float) -> None:
    histogram = histograms(counted("klag", list(numbers)))["klag"]
    exact = sorted(numbers)[max(1, math.ceil(share * len(numbers))) - 1]
    assert histogram.quantile_ms(share) == pytest.approx(exact, rel=0.0079)
    if exact < 128:
        assert histogram.quantile_ms(share) == exact
    assert histogram.average_ms == pytest.approx(sum(numbers) / len(numbers))


@given(st.lists(values), st.lists(values))
def test_sums_of_counts_are_the_histogram_of_all(one: list[int], other: list[int]) -> None:
    total = counted("klag", list(one))
    for label, count in counted("klag", list(other)).items():
        total[label] += count
    assert total == counted("klag", [*one, *other])


def test_negative_and_missing_values_are_counted_separately() -> None:
    histogram = histograms(counted("tsavg", [-5, 10, None, None]))["tsavg"]
    assert histogram.buckets == {0: 1, 10: 1}
    assert (histogram.values, histogram.sum_ms, histogram.negative, histogram.unknown) == (2, 10, 1, 2)


def test_values_beyond_the_largest_count_as_the_largest() -> None:
    histogram = histograms(counted("klag", [10**15]))["klag"]
    assert histogram.sum_ms == MAX_MS
    assert histogram.quantile_ms(1) == pytest.approx(MAX_MS, rel=0.01)


def test_empty_histogram_returns_zero() -> None:
    assert histograms({}) == {}
    histogram = histograms(counted("klag", [None]))["klag"]
    assert (histogram.average_ms, histogram.quantile_ms(0.99)) == (0, 0)


def test_other_labels_are_ignored() -> None:
    assert histograms({TOTAL_LABEL: 4, "(other)": 2}) == {}


def test_summary_names_the_averages_as_operators_know_them() -> None:
    counts = counted("tsavg", [10, 20, 30]) | counted("klag", [1, 2, 3]) | {TOTAL_LABEL: 3}
    assert summary(counts) == {
        "klag": 2,
        "klag p50": 2,
        "klag p95": 3,
        "klag p99": 3,
        "tsavg": 20,
        "tsavg p50": 20,
        "tsavg p95": 30,
        "tsavg p99": 30,
        TOTAL_LABEL: 3,
    }
