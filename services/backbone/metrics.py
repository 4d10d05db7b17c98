"""The metrics of each service: every one declared once, with its help, its labels and its unit.

Each class is built once a process, on that process's own registry, so that a process exports what it does and
nothing else, and tests can build as many as they like.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a lone request on loopback to one that waits for a struggling store, in seconds.
_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BATCH_BUCKETS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)


class HealthMetrics:
    """What every process tells of its own state, asked when metrics are read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ready = Gauge("push_ready", "1 when /readyz says yes, else 0", registry=registry)
        self.check_ok = Gauge(
            "push_check_ok",
            "1 when a check of readiness passed, else 0: which dependency, or which loop, is not well",
            ("check",),
            registry=registry,
        )


class TrackerMetrics:
    """What the tracker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "push_tracker_requests",
            "Requests answered, by method and status",
            ("method", "status"),
            registry=registry,
        )
        for method in ("GET", "HEAD", "POST", "OPTIONS", "other"):
            self.requests.labels(method, "500")  # there from the start, so that the first one is seen as an increase
        self.accepted = Counter(
            "push_tracker_events_accepted",
            "Events answered 2xx: Redis has confirmed them, or they are synced in the spool",
            registry=registry,
        )
        self.refused = Counter(
            "push_tracker_events_refused", "Events not stored, by reason", ("reason",), registry=registry
        )
        for reason in ("overloaded", "stopping", "redis", "spool_full", "spool_failed"):
            self.refused.labels(reason)  # there from the start, so that the first one is seen as an increase
        self.batches_as_events = Counter(
            "push_tracker_batches_as_events",
            "Bodies stored as one event although they look like a batch: their path is not in TRACKER_BATCH_PATHS",
            registry=registry,
        )
        self.push_seconds = Histogram(
            "push_tracker_push_seconds",
            "Time of one push to Redis",
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.push_events = Histogram(
            "push_tracker_push_events",
            "Events in one push to Redis",
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.pending = Gauge(
            "push_tracker_pending_events",
            "Events received that wait for the push in flight",
            registry=registry,
        )
        self.connections = Gauge(
            "push_tracker_connections",
            "Open connections of the public port, without those that are being refused",
            registry=registry,
        )
        self.buffered_bytes = Gauge(
            "push_tracker_buffered_bytes",
            "What connections buffer: unfinished heads, requests in hand, bodies and responses that are not read",
            registry=registry,
        )
        self.push_failures = Counter(
            "push_tracker_push_failures",
            "Pushes, new and replayed, that Redis did not confirm in time",
            registry=registry,
        )
        self.spooled = Counter(
            "push_tracker_events_spooled", "Events that were answered 2xx from the spool", registry=registry
        )
        self.replayed = Counter(
            "push_tracker_events_replayed",
            "Events of the spool that Redis has confirmed, or had taken before",
            registry=registry,
        )
        self.spool_events = Gauge(
            "push_tracker_spool_events", "Events in the spool that Redis has not confirmed", registry=registry
        )
        self.spool_bytes = Gauge("push_tracker_spool_bytes", "Size of the spool", registry=registry)
        self.spool_limit_bytes = Gauge(
            "push_tracker_spool_limit_bytes", "The most that the spool may hold; 0 without a spool", registry=registry
        )
        self.spool_torn = Counter(
            "push_tracker_spool_torn",
            "Records at the end of a segment whose writing a crash cut off: none was answered 2xx",
            registry=registry,
        )
        self.spool_damaged = Counter(
            "push_tracker_spool_damaged",
            "Places in the spool that can't be read: events that were answered 2xx are lost",
            registry=registry,
        )


class KafkastoreMetrics:
    """What kafkastore counts, and the ledger of the Redis servers that it drains."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.claimed = Counter("push_kafkastore_events_claimed", "Entries claimed from Redis", registry=registry)
        self.produced = Counter(
            "push_kafkastore_events_produced", "Events that Kafka has acknowledged", registry=registry
        )
        self.dead = Counter(
            "push_kafkastore_events_dead",
            "Entries sent to the dead letters, by stage",
            ("stage",),
            registry=registry,
        )
        for stage in ("decode", "enrich", "encode", "produce"):
            self.dead.labels(stage)  # there from the start, so that the first one is seen as an increase
        self.erased = Counter(
            "push_kafkastore_events_erased",
            "Entries dropped because their device is erased",
            registry=registry,
        )
        self.reclaimed = Counter(
            "push_kafkastore_events_reclaimed",
            "Entries taken back from instances that died",
            registry=registry,
        )
        self.lost_leases = Counter(
            "push_kafkastore_leases_lost",
            "Batches shipped whose claim another instance had taken back: their events are in Kafka twice",
            registry=registry,
        )
        self.ship_failures = Counter(
            "push_kafkastore_ship_failures",
            "Batches that Kafka did not confirm, each tried again",
            registry=registry,
        )
        self.enrich_seconds = Histogram(
            "push_kafkastore_enrich_seconds",
            "Time to enrich one batch",
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.produce_seconds = Histogram(
            "push_kafkastore_produce_seconds",
            "Time from handing a batch to Kafka until all of it is acknowledged",
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.batch_events = Histogram(
            "push_kafkastore_batch_events", "Entries in one claim", buckets=_BATCH_BUCKETS, registry=registry
        )
        self.geoip_databases = Gauge(
            "push_kafkastore_geoip_databases", "City databases that the settings name", registry=registry
        )
        self.geoip_loaded = Gauge(
            "push_kafkastore_geoip_loaded", "1 when a city database is open, else 0", registry=registry
        )
        self.ledger = Gauge(
            "push_ledger_events",
            "The books of one Redis, read in one step: accepted = produced + dead + waiting",
            ("redis", "state"),
            registry=registry,
        )


class ConsumerMetrics:
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
            buckets=_LATENCY_BUCKETS_S,
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


class KafidxMetrics:
    """What kafidx counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.subscribers = Gauge("push_kafidx_watchers", "Live views that are open", registry=registry)
        self.refused = Counter(
            "push_kafidx_watchers_refused",
            "Requests and sockets refused, by reason: host, origin, credentials (none given), password (a wrong one), "
            "delayed (not looked at after wrong ones), query, watchers, kafka",
            ("reason",),
            registry=registry,
        )
        for reason in ("host", "origin", "credentials", "password", "delayed", "query", "watchers", "kafka"):
            self.refused.labels(reason)
        self.seen = Counter("push_kafidx_events_seen", "Events read from the live end of the topic", registry=registry)
        self.sent = Counter("push_kafidx_rows_sent", "Rows handed to sockets, over all watchers", registry=registry)
        self.dropped = Counter(
            "push_kafidx_rows_dropped",
            "Rows dropped because a watcher did not read them in time, over all watchers",
            registry=registry,
        )
        self.queued_bytes = Gauge(
            "push_kafidx_queued_bytes", "Bytes of rows that wait for their watchers", registry=registry
        )
        self.lag = Gauge(
            "push_kafidx_lag_events",
            "Events in the topic that the reader of the live end has not read yet, by partition",
            ("partition",),
            registry=registry,
        )


class CanaryMetrics:
    """What the canary sees of the whole path. Stages: answered (2xx), topic (a reader got it), counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter("push_canary_events_sent", "Canaries sent to the tracker", registry=registry)
        self.seen = Counter(
            "push_canary_events_seen", "Canaries that reached a stage in time", ("stage",), registry=registry
        )
        self.late = Counter(
            "push_canary_events_late",
            "Canaries that were not counted in time, by the first stage that they did not reach",
            ("stage",),
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "push_canary_stage_seconds",
            "Time from sending a canary until it reached a stage",
            ("stage",),
            buckets=(*_LATENCY_BUCKETS_S, 10.0, 30.0, 60.0),
            registry=registry,
        )
        self.last_success = Gauge(
            "push_canary_last_success_timestamp_seconds",
            "When a canary last reached a stage, in seconds since 1970; absent before the first",
            ("stage",),
            registry=registry,
        )
        self.in_flight = Gauge(
            "push_canary_in_flight_events", "Canaries sent, not counted and not late yet", registry=registry
        )
        for stage in ("answered", "topic", "counted"):
            # There from the start, so that the first of each is seen as an increase.
            for metric in (self.seen, self.late, self.stage_seconds):
                metric.labels(stage)
