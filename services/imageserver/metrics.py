"""The metrics of uploads, workers, the volume and responses."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.backbone.metrics import LATENCY_BUCKETS_S
from services.imageserver.core.limits import DECODED_PIXELS
from services.imageserver.core.refusals import RefusalReason

_WORK_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
_OUTCOMES = ("stored", "known", "key_taken")
_KILLS = ("time", "died")
_LOGIN_REASONS = ("host", "origin", "credentials", "password", "delayed", "role")


class Metrics:
    """The metrics of one process.

    Labels are exported from the start, so that each first increase is seen. Of the statuses this holds for 500 alone,
    the only one with an alert.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "push_imageserver_requests",
            "Requests with a response, by method and status",
            ("method", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "push_imageserver_request_seconds",
            "Time from a request to the begin of its response, by method",
            ("method",),
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        for method in ("GET", "HEAD", "POST", "DELETE", "other"):
            self.requests.labels(method, "500")
            self.seconds.labels(method)
        self.refused_logins = Counter(
            "push_imageserver_logins_refused",
            "Requests without valid credentials, by reason (as in push_storage_requests_refused)",
            ("reason",),
            registry=registry,
        )
        for reason in _LOGIN_REASONS:
            self.refused_logins.labels(reason)
        self.uploads = Counter(
            "push_imageserver_uploads",
            "Uploads with a 2xx: stored (a new asset), known (the bytes were stored before), key_taken (the key names "
            "other bytes, which stay)",
            ("outcome",),
            registry=registry,
        )
        for outcome in _OUTCOMES:
            self.uploads.labels(outcome)
        self.refused = Counter(
            "push_imageserver_refused", "Refused uploads and reads, by reason", ("reason",), registry=registry
        )
        for refusal in RefusalReason:
            self.refused.labels(refusal.code)
        self.work_seconds = Histogram(
            "push_imageserver_work_seconds",
            "Time of a worker for one upload that was not refused, by format of the upload",
            ("format",),
            buckets=_WORK_BUCKETS_S,
            registry=registry,
        )
        for picture_format in DECODED_PIXELS:
            self.work_seconds.labels(picture_format)
        self.kills = Counter(
            "push_imageserver_worker_kills",
            "Workers that were killed at a time limit or the deadline of their upload, or that died",
            ("cause",),
            registry=registry,
        )
        for cause in _KILLS:
            self.kills.labels(cause)
        self.waiting = Gauge("push_imageserver_waiting", "Uploads that wait for a worker", registry=registry)
        self.working = Gauge("push_imageserver_working", "Uploads in a worker", registry=registry)
        self.strays = Counter(
            "push_imageserver_strays_removed", "Files without an asset that sweeps removed", registry=registry
        )
        self.missing = Gauge(
            "push_imageserver_missing_files",
            "Files of assets that the last complete sweep of any replica did not find",
            registry=registry,
        )
        self.last_sweep = Gauge(
            "push_imageserver_last_sweep_age_seconds",
            "Time since the last complete sweep of any replica, or since the first attempt before there is one",
            registry=registry,
        )
        self.volume_bytes = Gauge("push_imageserver_volume_bytes", "Size of the volume", registry=registry)
        self.volume_free = Gauge("push_imageserver_volume_free_bytes", "Free bytes of the volume", registry=registry)
        self.assets = Gauge("push_imageserver_assets", "Published assets", registry=registry)
