from collections import defaultdict

from services.backbone.events import split_event
from services.backbone.histogram import histograms, summary
from services.consumers.handlers.timing_stats import count


def counted(*metas: str) -> dict[str, int]:
    counts: defaultdict[str, int] = defaultdict(int)
    for meta in metas:
        count(split_event(f"t {meta} -".encode()), counts, 10_000)
    return counts


def test_averages_and_percentiles_cover_receipt_to_consumer_and_klag() -> None:
    rows = summary(counted(*(f"id=1&ts={10_000 - number}&klag={2 * number}" for number in range(1, 101))))
    assert rows["tsavg"] == 50.5
    assert (rows["tsavg p50"], rows["tsavg p95"], rows["tsavg p99"]) == (50, 95, 99)
    assert rows["klag"] == 101
    assert (rows["klag p50"], rows["klag p95"], rows["klag p99"]) == (100, 190.5, 198.5)
    assert rows["totaleventsseen"] == 100


def test_negative_duration_counts_as_zero_and_as_negative() -> None:
    histogram = histograms(counted("ts=10500&klag=3", "ts=9000&klag=-1"))["tsavg"]
    assert histogram.buckets == {0: 1, 1000: 1}
    assert histogram.negative == 1


def test_event_without_times_counts_as_seen_and_unknown() -> None:
    counts = counted("id=1", "ts=soon&klag=", "ts=9999&klag=1")
    assert counts["totaleventsseen"] == 3
    for histogram in histograms(counts).values():
        assert (histogram.values, histogram.unknown) == (1, 2)
