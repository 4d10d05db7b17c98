"""The metrics of the public port, the planning and the deliveries."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.backbone.metrics import LATENCY_BUCKETS_S

CHANNELS = ("log", "callback", "webpush", "onesignal")
KINDS = ("match", "chat", "text")
_STATES = ("sent", "suppressed", "held", "merged", "unreachable")
_RESULTS = ("delivered", "retry", "error", "dead", "retire")


class Metrics:
    """Metrics of one process. Each series begins at zero, so that Prometheus sees its first increase."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.accepted = Counter(
            "push_notify_accepted", "Notifications that were stored, by kind", ("kind",), registry=registry
        )
        self.repeated = Counter(
            "push_notify_repeated",
            "Requests whose notification was known, by kind",
            ("kind",),
            registry=registry,
        )
        for kind in KINDS:
            self.accepted.labels(kind)
            self.repeated.labels(kind)
        self.messages = Counter(
            "push_notify_messages",
            "Planned messages, by state: sent, suppressed (by the rate limit), held (quiet hours), merged (of held "
            "ones), unreachable (the device has no channel)",
            ("state",),
            registry=registry,
        )
        for state in _STATES:
            self.messages.labels(state)
        self.set_aside = Counter(
            "push_notify_set_aside",
            "Notifications that cannot be planned, and deliveries and held messages that cannot be read; the log has "
            "the reason",
            registry=registry,
        )
        self.attempts = Counter(
            "push_notify_attempts",
            "Attempts to deliver a message, by channel and result: delivered, retry, error (of this service; attempted "
            "again), dead, retire",
            ("channel", "result"),
            registry=registry,
        )
        self.seconds = Histogram(
            "push_notify_attempt_seconds",
            "Duration of an attempt, by channel",
            ("channel",),
            buckets=(*LATENCY_BUCKETS_S, 15.0),
            registry=registry,
        )
        self.dead = Counter(
            "push_notify_dead", "Deliveries that went to the dead list, by channel", ("channel",), registry=registry
        )
        for channel in CHANNELS:
            self.dead.labels(channel)
            self.seconds.labels(channel)
            for result in _RESULTS:
                self.attempts.labels(channel, result)
        self.delivered_after = Histogram(
            "push_notify_delivered_after_seconds",
            "Time from the acceptance of a notification to the end of the attempt that delivered it",
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0, 3600.0, 86400.0),
            registry=registry,
        )
        self.windows_failed = Counter(
            "push_notify_windows_failed",
            "Requests to Redis that failed; the messages were sent without the rate limit",
            registry=registry,
        )
        self.events_sent = Counter("push_notify_events_sent", "Events that the tracker accepted", registry=registry)
        self.events_refused = Counter(
            "push_notify_events_refused", "Events that the tracker rejected; they are dropped", registry=registry
        )
        self.requests = Counter(
            "push_notify_requests",
            "Requests with a response, by method and status",
            ("method", "status"),
            registry=registry,
        )
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "other"):
            self.requests.labels(method, "500")
        self.refused = Counter(
            "push_notify_requests_refused",
            "Refused requests, by reason: host, origin, credentials (missing), password (wrong), delayed (not checked "
            "after wrong passwords), signature (of a chat webhook)",
            ("reason",),
            registry=registry,
        )
        for reason in ("host", "origin", "credentials", "password", "delayed", "signature"):
            self.refused.labels(reason)
        self.unplanned = Gauge("push_notify_unplanned", "Accepted notifications to plan", registry=registry)
        self.oldest_unplanned = Gauge(
            "push_notify_oldest_unplanned_seconds", "How long the oldest one has waited", registry=registry
        )
        self.waiting = Gauge("push_notify_deliveries_waiting", "Deliveries that have not ended", registry=registry)
        self.oldest_due = Gauge(
            "push_notify_oldest_due_seconds", "How long the oldest delivery has been due", registry=registry
        )
        self.held = Gauge("push_notify_messages_held", "Messages that quiet hours hold", registry=registry)
        self.dead_list = Gauge("push_notify_dead_list", "Deliveries in the dead list", registry=registry)
        self.owed_events = Gauge("push_notify_owed_events", "Notifications that owe an event", registry=registry)
        self.oldest_owed_event = Gauge(
            "push_notify_oldest_owed_event_seconds", "How long the oldest event has been owed", registry=registry
        )
