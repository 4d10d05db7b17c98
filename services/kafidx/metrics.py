"""The metrics of kafidx."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
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
