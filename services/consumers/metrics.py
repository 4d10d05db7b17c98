"""The metrics of the statistics consumers."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.backbone.metrics import LATENCY_BUCKETS_S


class Metrics:
    """Metrics by consumer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counted = Counter(
            "push_consumer_events_counted", "Events counted, by consumer", ("consumer",), registry=registry
        )
        self.invalid = Counter(
            "push_consumer_events_invalid",
            "Records that are not valid events, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.duplicates = Counter(
            "push_consumer_events_duplicates",
            "Records dropped because an event with the same fingerprint was counted before, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.refused_batches = Counter(
            "push_consumer_batches_refused",
            "Batches rejected because they do not begin at the stored position, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.missed = Counter(
            "push_consumer_offsets_missed",
            "Offsets that the topic had removed before they were counted, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.given_up = Counter(
            "push_consumer_offsets_given_up",
            "Offsets by which positions were moved back because the topic was recreated or lost its end, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.partitions = Gauge(
            "push_consumer_partitions",
            "Partitions assigned to this member, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.stopped = Gauge(
            "push_consumer_partitions_stopped",
            "Assigned partitions that are not counted because their stored position is invalid, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.lag = Gauge(
            "push_consumer_lag_events",
            "Events in the topic not yet counted, by consumer and partition",
            ("consumer", "partition"),
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "push_consumer_batch_seconds",
            "Time to fold the batches of a poll and write their counts, by consumer",
            ("consumer",),
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )

    def begin(self, consumer: str, *, partitions: Callable[[], float], stopped: Callable[[], float]) -> None:
        """Export zeros for this consumer, so that Prometheus sees the first event of each counter as an increase.

        Each scrape calls `partitions` and `stopped`, also while the consumer's loop waits.
        """
        for counter in (self.counted, self.invalid, self.duplicates, self.refused_batches, self.missed, self.given_up):
            counter.labels(consumer)
        self.partitions.labels(consumer).set_function(partitions)
        self.stopped.labels(consumer).set_function(stopped)
        self.batch_seconds.labels(consumer)
