"""timing_stats: measures how long events take to arrive here."""

from typing import Final

from services.backbone.counters import Description
from services.backbone.events import META_QUEUE_DELAY, META_RECEIVED_AT, EncodedEvent, meta_value
from services.backbone.histogram import TOTAL_LABEL, observe
from services.consumers.core import Counts, whole_number

DESCRIPTION: Final = Description(
    name="timing_stats",
    description="How long events take to this consumer, and how long they wait in Redis",
    column_title="Timing",
    legend={
        "tsavg": "time from receipt at the tracker to this consumer",
        "klag": "time in Redis: from receipt at the tracker to enrichment",
        "p50, p95, p99": "50, 95 and 99 percent of the events took at most this time",
        "JSON, CSV": "all times in ms; the row `tsavg` or `klag` is the average",
        TOTAL_LABEL: "in JSON and CSV: the events that this consumer has counted",
    },
    kind="histograms",
)


def count(event: EncodedEvent, counts: Counts, seen_at_ms: int) -> None:
    """Count one event, and add its two durations to their histograms."""
    received_at_ms = whole_number(meta_value(event.meta, META_RECEIVED_AT))
    observe(counts, "tsavg", None if received_at_ms is None else seen_at_ms - received_at_ms)
    observe(counts, "klag", whole_number(meta_value(event.meta, META_QUEUE_DELAY)))
    counts[TOTAL_LABEL] += 1
