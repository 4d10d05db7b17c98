"""The metrics of kafidx."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.kafidx.core.find import VERDICT_STAGES


class Metrics:
    """The metrics of one kafidx process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.subscribers = Gauge("push_kafidx_subscribers", "Open live views", registry=registry)
        self.refused = Counter(
            "push_kafidx_subscribers_refused",
            "Refused requests and sockets, by reason: host, origin, credentials (missing), password (wrong), "
            "delayed (not checked after wrong passwords), query, subscribers (too many views), kafka",
            ("reason",),
            registry=registry,
        )
        for reason in ("host", "origin", "credentials", "password", "delayed", "query", "subscribers", "kafka"):
            self.refused.labels(reason)
        self.seen = Counter("push_kafidx_events_seen", "Events read from the live end of the topics", registry=registry)
        self.sent = Counter("push_kafidx_rows_sent", "Rows sent to sockets, of all subscribers", registry=registry)
        self.dropped = Counter(
            "push_kafidx_rows_dropped",
            "Rows dropped because a subscriber did not read them in time, of all subscribers",
            registry=registry,
        )
        self.queued_bytes = Gauge(
            "push_kafidx_queued_bytes", "Bytes of rows in the queues of all subscribers", registry=registry
        )
        self.lag = Gauge(
            "push_kafidx_lag_events",
            "Events of the topic that the live reader has not read yet, by partition",
            ("partition",),
            registry=registry,
        )
        self.searches = Counter(
            "push_kafidx_searches",
            "Events that operators searched for, by the stage that has the event (or counted, nowhere, unknown)",
            ("stage",),
            registry=registry,
        )
        for stage in VERDICT_STAGES:  # the dashboard shows them before the first search
            self.searches.labels(stage)
