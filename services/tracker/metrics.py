"""The metrics of the tracker."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.backbone.metrics import BATCH_BUCKETS, LATENCY_BUCKETS_S


class Metrics:
    """The tracker's metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "push_tracker_requests",
            "Requests with a response, by method and status",
            ("method", "status"),
            registry=registry,
        )
        for method in ("GET", "HEAD", "POST", "OPTIONS", "other"):
            self.requests.labels(method, "500")  # the series starts at 0, so its first increase is visible
        self.accepted = Counter(
            "push_tracker_events_accepted",
            "Events with a 2xx response: Redis has confirmed them, or the spool has synced them",
            registry=registry,
        )
        self.refused = Counter(
            "push_tracker_events_refused", "Events not stored, by reason", ("reason",), registry=registry
        )
        for reason in ("overloaded", "stopping", "redis", "spool_full", "spool_failed"):
            self.refused.labels(reason)  # the series starts at 0, so its first increase is visible
        self.batches_as_events = Counter(
            "push_tracker_batches_as_events",
            "Batches stored as one event because their path is not in TRACKER_BATCH_PATHS",
            registry=registry,
        )
        self.push_seconds = Histogram(
            "push_tracker_push_seconds",
            "Duration of one push to Redis",
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
            "Received events that wait for the push in flight to end",
            registry=registry,
        )
        self.connections = Gauge(
            "push_tracker_connections",
            "Open connections of the public port, without refused ones",
            registry=registry,
        )
        self.buffered_bytes = Gauge(
            "push_tracker_buffered_bytes",
            "Bytes that connections buffer: incomplete heads, requests in process, unread bodies, unread responses",
            registry=registry,
        )
        self.push_failures = Counter(
            "push_tracker_push_failures",
            "New and replayed pushes that Redis did not confirm in time",
            registry=registry,
        )
        self.spooled = Counter(
            "push_tracker_events_spooled", "Events with a 2xx response that the spool has stored", registry=registry
        )
        self.replayed = Counter(
            "push_tracker_events_replayed",
            "Events from the spool that Redis has confirmed, duplicates of earlier pushes included",
            registry=registry,
        )
        self.spool_events = Gauge(
            "push_tracker_spool_events", "Events in the spool that Redis has not confirmed", registry=registry
        )
        self.spool_bytes = Gauge("push_tracker_spool_bytes", "Size of the spool", registry=registry)
        self.spool_limit_bytes = Gauge(
            "push_tracker_spool_limit_bytes", "Maximum size of the spool; 0 without a spool", registry=registry
        )
        self.spool_torn = Counter(
            "push_tracker_spool_torn",
            "Incomplete records at the end of a segment, left by a crash; none of their events got a 2xx response",
            registry=registry,
        )
        self.spool_damaged = Counter(
            "push_tracker_spool_damaged",
            "Unreadable parts of the spool; events that got a 2xx response are lost",
            registry=registry,
        )
