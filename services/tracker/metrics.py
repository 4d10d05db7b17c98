"""The metrics of the tracker."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.backbone.metrics import BATCH_BUCKETS, LATENCY_BUCKETS_S


class Metrics:
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
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.push_events = Histogram(
            "push_tracker_push_events",
            "Events in one push to Redis",
            buckets=BATCH_BUCKETS,
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
