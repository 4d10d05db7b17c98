"""The metrics of the canary."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.backbone.metrics import LATENCY_BUCKETS_S


class Metrics:
    """Metrics by stage: `answered` (the tracker responded 2xx), `topic` (a reader got the record), `counted`."""

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
            buckets=(*LATENCY_BUCKETS_S, 10.0, 30.0, 60.0),
            registry=registry,
        )
        self.last_success = Gauge(
            "push_canary_last_success_timestamp_seconds",
            "Unix time at which a canary last reached a stage; absent before the first one",
            ("stage",),
            registry=registry,
        )
        self.in_flight = Gauge(
            "push_canary_in_flight_events",
            "Canaries that were sent and are neither counted nor late yet",
            registry=registry,
        )
        for stage in ("answered", "topic", "counted"):
            # Export zeros from the start. Prometheus then sees the first increase of each series.
            for metric in (self.seen, self.late, self.stage_seconds):
                metric.labels(stage)
