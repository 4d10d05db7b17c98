"""Metrics that all services export. The metrics of one service are in its own `metrics.py`.

Each class is built once in a process, on the registry of that process, so that a process exports its own metrics only.
"""

from prometheus_client import CollectorRegistry, Gauge

# In seconds, from a single request on loopback to a request that waits for a slow store.
LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH_BUCKETS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)


class HealthMetrics:
    """The state of every process, updated when metrics are read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ready = Gauge("push_ready", "1 when /readyz reports ready, else 0", registry=registry)
        self.check_ok = Gauge(
            "push_check_ok",
            "1 when a check of readiness passed, else 0. A check is a dependency or a loop",
            ("check",),
            registry=registry,
        )
