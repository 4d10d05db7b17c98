"""JobExecutor: the check of a job in a Celery worker, which begins and runs it when it is due."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Literal, TypeVar
from zoneinfo import ZoneInfo

from celery.exceptions import SoftTimeLimitExceeded

from services.backbone.backoff import Backoff, retried
from services.backbone.logs import get_logger
from services.backbone.redis_outages import RedisOutages
from services.backbone.schedule.plan import JobPlan, ScheduledJob, decide
from services.backbone.schedule.store import BegunRun, ScheduleStore, ScheduleStoreError

log = get_logger(__name__)

_REPORTS: Final = 40
"""With the pauses, more than a minute: an end that is not recorded blocks its job until its time limit."""
_LONGEST_PAUSE_S: Final = 2.0
_Result = TypeVar("_Result")


class JobExecutor:
    """Checks jobs. Each check opens a store in an event loop of its own, and closes it.

    Of due times, the newest one runs if it is at most `late_s` old (`decide`).
    """

    def __init__(
        self,
        open_store: Callable[[], ScheduleStore],
        jobs: Mapping[str, ScheduledJob],
        *,
        zone: ZoneInfo,
        late_s: float,
    ) -> None:
        self._open_store = open_store
        self._jobs = jobs
        self._zone = zone
        self._late_s = late_s

    def check(self, name: str) -> None:
        """Record lost and missed runs of a job, and run it if it is due. It blocks until the run has ended.

        A lost check has no effect: the next one does the same.
        """
        job = self._jobs.get(name)
        if job is None:
            log.warning("job_unknown", scheduled_job=name)
            return
        try:
            run = self._with_store(lambda store: self._begin(store, job.plan))
        except ScheduleStoreError as error:
            log.warning("redis_unavailable", error=f"{type(error).__name__}: {error}")
            return
        if run is not None:
            result, note = self._run(job, run)
            self._with_store(lambda store: _report(store, run, result, note))

    async def _begin(self, store: ScheduleStore, plan: JobPlan) -> BegunRun | None:
        state = await store.state(plan.name)
        if state.mark_ms is None:
            await store.begin_planning(plan.name)
            return None
        if (
            state.current_ms is not None
            and not state.is_running
            and await store.record_lost(plan.name, state.current_ms)
        ):
            log.error("job_lost", scheduled_job=plan.name, planned_ms=state.current_ms)
        decision = decide(plan, state, store.clock(), zone=self._zone, late_s=self._late_s)
        if decision.missed and (missed := await store.record_missed(plan.name, decision.missed)):
            log.error("job_missed", scheduled_job=plan.name, planned_ms=decision.missed[0], runs=missed)
        if decision.planned_ms is None:
            return None
        if not decision.is_requested:
            return await store.begin(plan.name, decision.planned_ms)
        by, order = state.requested_by, state.order
        return await store.begin(plan.name, decision.planned_ms, by=by, is_requested=True, order=order)

    def _run(self, job: ScheduledJob, run: BegunRun) -> tuple[Literal["done", "failed"], str]:
        fields = {"scheduled_job": run.job, "planned_ms": run.record.planned_ms}
        log.info("job_begun", **fields)
        began_s = time.monotonic()
        try:
            note = asyncio.run(_work(job, run.order))
        except SoftTimeLimitExceeded:
            log.error("job_failed", **fields, reason="time limit")  # noqa: TRY400 - the traceback is where it stopped
            return "failed", "time limit"
        except Exception as error:
            log.exception("job_failed", **fields)
            return "failed", f"{type(error).__name__}: {error}"
        log.info("job_done", **fields, seconds=round(time.monotonic() - began_s, 3), note=note)
        return "done", note

    def _with_store(self, use: Callable[[ScheduleStore], Coroutine[Any, Any, _Result]]) -> _Result:
        async def used() -> _Result:
            async with contextlib.aclosing(self._open_store()) as store:
                return await use(store)

        return asyncio.run(used())


def _work(job: ScheduledJob, order: str) -> Coroutine[Any, Any, str]:
    if not order:
        return job.run()
    if job.follow is None:
        raise ValueError(f"{job.plan.name} follows no order")
    return job.follow(order)


async def _report(store: ScheduleStore, run: BegunRun, result: Literal["done", "failed"], note: str) -> None:
    """Record the end of a run, also over a restart of Redis, as long as the time limit of the task allows.

    The task is killed at its hard limit, some seconds after the soft one that ends a job. An end that is not recorded
    until then counts as lost.
    """
    outage = RedisOutages()
    await retried(
        lambda: store.end(run, result, note),
        ScheduleStoreError,
        backoff=Backoff(first_s=0.2, longest_s=_LONGEST_PAUSE_S),
        attempts=_REPORTS,
        on_error=outage.failed,
    )
    outage.succeeded()
