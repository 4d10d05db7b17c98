"""The metrics of a schedule. Beat exports them, from the state of the jobs in Redis."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.backbone.schedule.plan import JobPlan, JobState, overdue_s
from services.backbone.schedule.store import RESULTS, ScheduleStore


class _Job(NamedTuple):
    name: str
    state: JobState
    overdue_s: float
    unsuccessful_s: float


class ScheduleMetrics(Collector):
    """Metrics by job. The label is `scheduled_job`, because `job` is a label of Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._jobs: Sequence[_Job] = ()
        self.silent = Gauge(
            "push_schedule_beat_silent_seconds", "Time since beat has sent the last check of a job", registry=registry
        )
        registry.register(self)

    async def refresh(self, store: ScheduleStore, plans: Iterable[JobPlan], zone: ZoneInfo) -> None:
        """Read the state of the jobs. Raises ScheduleStoreError; then the metrics keep their values."""
        now_ms = store.clock()
        jobs = []
        for plan in plans:
            state = await store.state(plan.name)
            begun_ms = state.succeeded_ms or state.since_ms or now_ms
            overdue = overdue_s(plan, state, now_ms, zone=zone)
            jobs.append(_Job(plan.name, state, overdue, max(0.0, (now_ms - begun_ms) / 1000)))
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all jobs."""
        labels = ("scheduled_job",)
        runs = CounterMetricFamily(
            "push_schedule_runs",
            "Planned times and requests by their end, by job and result (done, failed, lost, missed)",
            labels=(*labels, "result"),
        )
        overdue = GaugeMetricFamily(
            "push_schedule_overdue_seconds",
            "Age of the oldest due time that is neither run nor missed, by job",
            labels=labels,
        )
        unsuccessful = GaugeMetricFamily(
            "push_schedule_unsuccessful_seconds",
            "Time since the last successful run has ended, or since the first check if there was none, by job",
            labels=labels,
        )
        paused = GaugeMetricFamily("push_schedule_paused", "1 while a job is paused, by job", labels=labels)
        for job in self._jobs:
            for result in RESULTS:
                runs.add_metric((job.name, result), job.state.counts.get(result, 0))
            overdue.add_metric((job.name,), job.overdue_s)
            unsuccessful.add_metric((job.name,), job.unsuccessful_s)
            paused.add_metric((job.name,), float(job.state.paused_ms is not None))
        yield from (runs, overdue, unsuccessful, paused)
