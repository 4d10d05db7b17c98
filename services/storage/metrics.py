"""The metrics of matching."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.storage.core.matching import SubjectKind

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
        for kind in _KINDS:
            # Export zeros from the start. Prometheus then sees the first increase of each series.
            for metric in (self.matched, self.candidates, self.matches):
                metric.labels(kind)
