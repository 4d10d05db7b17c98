"""The metrics of the statistics consumers."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.backbone.metrics import LATENCY_BUCKETS_S


class Metrics:
    """What a statistics consumer counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counted = Counter(
            "push_consumer_events_counted", "Events counted, by consumer", ("consumer",), registry=registry
        )
        self.invalid = Counter(
            "push_consumer_events_invalid",
            "Records that are no events, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.duplicates = Counter(
            "push_consumer_events_duplicates",
            "Records dropped because an event with their id was counted before, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.refused_batches = Counter(
            "push_consumer_batches_refused",
            "Batches not counted because another member had counted past their start, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.missed = Counter(
            "push_consumer_offsets_missed",
            "Offsets that the topic no longer held when they were to be counted, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.given_up = Counter(
            "push_consumer_offsets_given_up",
            "Offsets that positions were set back by, because the topic was made anew or has lost its end, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.partitions = Gauge(
            "push_consumer_partitions",
            "Partitions that this member holds, by consumer",
            ("consumer",),
            registry=registry,
        )
        self.stopped = Gauge(
            "push_consumer_partitions_stopped",
            "Partitions that this member holds and does not count because their position is invalid, by consumer",
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
            "Time from polling a batch to its counts being written, by consumer",
            ("consumer",),
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )

    def begin(self, consumer: str, *, partitions: Callable[[], float], stopped: Callable[[], float]) -> None:
        """Export zeros for this consumer, so that the first of each is seen as an increase.

        `partitions` and `stopped` are called when metrics are read, also while the consumer's loop waits.
        """
        for counter in (self.counted, self.invalid, self.duplicates, self.refused_batches, self.missed, self.given_up):
            counter.labels(consumer)
        self.partitions.labels(consumer).set_function(partitions)
        self.stopped.labels(consumer).set_function(stopped)
        self.batch_seconds.labels(consumer)
