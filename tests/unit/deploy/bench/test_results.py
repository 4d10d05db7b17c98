import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.bench.results import Round, latency_round, median, quantile, summed_up


def test_result_has_the_medians_of_the_rounds_and_the_sum_of_lost_events() -> None:
    rounds = [Round(rate=10.0, lost=0, rss_mb=5.0), Round(rate=30.0, lost=2, rss_mb=9.0), Round(rate=20.0, lost=1)]
    figure = summed_up("x", rounds, {"other": [Round(rate=40.0), Round(rate=80.0), Round(rate=50.0)]})
    assert (figure.rate, figure.lost, figure.rss_mb) == (20.0, 3, 9.0)
    assert figure.ratios == {"other": 0.4}
    assert figure.exit_code == 1
    assert summed_up("x", [Round(rate=1.0)], {}).exit_code == 0


def test_json_has_exactly_the_documented_keys() -> None:
    written = json.loads(summed_up("x", [Round(rate=1.0)], {}).as_json())
    assert list(written) == ["name", "rate", "p50_ms", "p99_ms", "lost", "cpu_us_per_event", "rss_mb", "ratios"]


def test_value_that_was_not_measured_is_none() -> None:
    figure = summed_up("x", [Round(rate=None)], {"other": [Round(rate=5.0)]})
    assert (figure.rate, figure.p99_ms, figure.ratios) == (None, None, {})
    assert median([None, None]) is None


@given(st.lists(st.floats(0, 1000), min_size=1), st.sampled_from([0.5, 0.99, 0.999]))
def test_quantile_is_a_value_of_the_sequence(values: list[float], part: float) -> None:
    ordered = sorted(values)
    found = quantile(ordered, part)
    assert found in ordered
    assert found is not None
    assert sum(value <= found for value in ordered) >= part * len(ordered)


def test_latencies_are_reported_in_milliseconds() -> None:
    found = latency_round([0.001 * number for number in range(1, 1001)])
    assert (found.p50_ms, found.p99_ms, found.p999_ms) == pytest.approx((500.0, 990.0, 999.0))
