"""The metrics of matching, of the public port, and of the events that changes owe."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.backbone.metrics import LATENCY_BUCKETS_S
from services.storage.core.matching import SubjectKind

_OWN_BUCKETS_S = (0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.5)
_KINDS: tuple[SubjectKind, ...] = ("offer", "search")


class Metrics:
    """Metrics by the kind of the object that was matched."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.matched = Counter(
            "push_storage_objects_matched", "Due objects that were matched, by kind", ("kind",), registry=registry
        )
        self.candidates = Counter(
            "push_storage_candidates",
            "Objects that the index proposed, by kind of the subject",
            ("kind",),
            registry=registry,
        )
        self.matches = Counter(
            "push_storage_matches",
            "Candidates that the rule accepted, by kind of the subject",
            ("kind",),
            registry=registry,
        )
        self.encounters = Counter("push_storage_encounters", "Pairs that entered", registry=registry)
        self.rechecked = Counter(
            "push_storage_pairs_rechecked",
            "Pairs that were decided again because an object or the pair changed during the decision",
            registry=registry,
        )
        self.notified = Counter("push_storage_encounters_notified", "Encounters that were reported", registry=registry)
        self.refused = Counter(
            "push_storage_encounters_refused", "Encounters that the notificationserver rejected", registry=registry
        )
        self.ended = Counter(
            "push_storage_encounters_ended",
            "Encounters that an edit, an expiry or a deletion ended before they were reported",
            registry=registry,
        )
        self.due = Gauge("push_storage_due_objects", "Objects that are due", registry=registry)
        self.oldest_due = Gauge("push_storage_oldest_due_seconds", "Age of the oldest due mark", registry=registry)
        self.owed = Gauge("push_storage_owed_encounters", "Pairs with encounters to report", registry=registry)
        self.oldest_owed = Gauge(
            "push_storage_oldest_owed_encounter_seconds", "Age of the oldest encounter to report", registry=registry
        )
        self.failing = Gauge(
            "push_storage_failing",
            "Due objects and owed encounters whose work fails while that of others succeeds",
            ("queue",),
            registry=registry,
        )
        for queue in ("objects", "encounters"):
            self.failing.labels(queue)
        for kind in _KINDS:
            # Export zeros from the start. Prometheus then sees the first increase of each series.
            for metric in (self.matched, self.candidates, self.matches):
                metric.labels(kind)


class ApiMetrics:
    """Metrics of the public port and of the events that changes owe."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "push_storage_requests",
            "Requests with a response, by method and status",
            ("method", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "push_storage_request_seconds",
            "Time from a request to the begin of its response, by method",
            ("method",),
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.own_seconds = Histogram(
            "push_storage_request_own_seconds",
            "Time from a request to the begin of its response without the time of its database commands, by method",
            ("method",),
            buckets=_OWN_BUCKETS_S,
            registry=registry,
        )
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "other"):
            self.requests.labels(method, "500")
            self.seconds.labels(method)
            self.own_seconds.labels(method)
        self.refused = Counter(
            "push_storage_requests_refused",
            "Refused requests, by reason: host, origin, credentials (missing), password (wrong), delayed (not checked "
            "after wrong passwords), token (unknown), role (a phone on a page)",
            ("reason",),
            registry=registry,
        )
        for reason in ("host", "origin", "credentials", "password", "delayed", "token", "role"):
            self.refused.labels(reason)
        self.changes = Counter(
            "push_storage_changes", "Changed objects, by kind and action", ("kind", "action"), registry=registry
        )
        for kind in _KINDS:
            for action in ("create", "update", "setact", "delete", "move"):
                self.changes.labels(kind, action)
        self.events_sent = Counter("push_storage_events_sent", "Events that the tracker accepted", registry=registry)
        self.events_refused = Counter(
            "push_storage_events_refused", "Events that the tracker rejected; they are dropped", registry=registry
        )
        self.owed_events = Gauge("push_storage_owed_events", "Objects that owe events", registry=registry)
        self.failing_events = Gauge(
            "push_storage_failing_events", "Objects whose events fail while those of others are sent", registry=registry
        )
        self.oldest_owed_event = Gauge(
            "push_storage_oldest_owed_event_seconds",
            "Time since the oldest change among the objects that owe events",
            registry=registry,
        )
