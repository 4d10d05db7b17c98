"""The process of Celery beat: it sends a check of each job of a service every few seconds (services.backbone.schedule).

Beat holds no plan and no memory, so it may be killed, restarted or run twice at any time.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from celery import Celery, signals
from celery.beat import Scheduler, Service
from prometheus_client import CollectorRegistry

from services.backbone import names
from services.backbone.health import Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.process import http_server, run_task
from services.backbone.schedule import JobPlan, ScheduleStore, ScheduleStoreError
from services.backbone.schedule.metrics import ScheduleMetrics
from services.backbone.settings import ProcessSettings

log = get_logger(__name__)

SILENCE_S: Final = 60.0
"""Time without a sent check after which beat counts as silent and is restarted, unless Redis is down."""
_MOST_ROUNDS: Final = 10
"""The most checks of each job that wait in the queue while no worker takes them."""
_LOOK_S: Final = 1.0
_STOP_LIMIT_S: Final = 5.0


class BeatEnded(Exception):
    """The thread of beat has ended by itself, or is silent."""


class Beat:
    """Celery beat in a thread. It sends a check of each job every `check_s`."""

    def __init__(self, app: Celery, service: str, plans: Sequence[JobPlan], *, check_s: float) -> None:
        app.conf.update(
            beat_schedule={
                plan.name: {
                    "task": names.SCHEDULE_CHECK_TASK,
                    "args": (plan.name,),
                    "schedule": check_s,
                    "options": {"queue": names.schedule_queue(service), "ignore_result": True},
                }
                for plan in plans
            },
            # With a time to expire, beat adds a task that cleans a result backend, in a queue that nobody reads.
            result_expires=None,
        )
        self._jobs = len(plans)
        self._service = Service(app, scheduler_cls=Scheduler)
        # A daemon: its connection attempts to a lost Redis do not end at a stop.
        self._thread = threading.Thread(target=self._service.start, name="beat", daemon=True)
        self._sent_s = time.monotonic()
        self._silence_s = max(SILENCE_S, 3 * check_s)

    @property
    def silent_s(self) -> float:
        """Seconds since the last check was sent, or since the start."""
        return time.monotonic() - self._sent_s

    async def check(self) -> str:
        """Raise unless beat sends checks."""
        if self.silent_s > self._silence_s:
            raise RuntimeError(f"beat has sent no check for {self.silent_s:.0f} s")
        return ""

    async def run(self, store: ScheduleStore) -> None:
        """Send checks until cancelled. Raises BeatEnded."""
        signals.after_task_publish.connect(self._on_sent)
        self._thread.start()
        try:
            while True:
                await asyncio.sleep(_LOOK_S)
                if not self._thread.is_alive():
                    raise BeatEnded("the thread of beat has ended")
                try:
                    await store.trim_queue(_MOST_ROUNDS * self._jobs)
                except ScheduleStoreError as error:
                    log.warning("redis_unavailable", error=f"{type(error).__name__}: {error}")
                    self._sent_s = time.monotonic()  # beat can send nothing then
                if self.silent_s > self._silence_s:
                    raise BeatEnded(f"beat has sent no check for {self.silent_s:.0f} s")
        finally:
            signals.after_task_publish.disconnect(self._on_sent)
            await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._service.stop()
        self._thread.join(_STOP_LIMIT_S)

    def _on_sent(self, **_: Any) -> None:
        self._sent_s = time.monotonic()


async def run_beat(  # noqa: PLR0913 - what differs between services
    app: Celery,
    store: ScheduleStore,
    plans: Sequence[JobPlan],
    settings: ProcessSettings,
    stop: asyncio.Event,
    *,
    zone: ZoneInfo,
    check_s: float,
) -> None:
    """Run beat until `stop` is set, and close `store`. The internal port opens first and closes last.

    At a stop beat ends between two checks. A check that was not sent is sent by the next beat.
    """
    registry = CollectorRegistry()
    metrics = ScheduleMetrics(registry)
    beat = Beat(app, store.service, plans, check_s=check_s)

    async def check_redis() -> str:
        await store.ping()
        return ""

    async def refresh_metrics() -> None:
        metrics.silent.set(beat.silent_s)
        with contextlib.suppress(ScheduleStoreError):  # the metrics keep their values; the check reports it
            await metrics.refresh(store, plans, zone)

    health = Health({"redis": check_redis, "beat": beat.check})
    internal_app = create_internal_app(health, registry, refresh_metrics=refresh_metrics)
    async with (
        contextlib.aclosing(store),
        http_server(internal_app, host=settings.internal_host, port=settings.internal_port),
    ):

        def begin_stop() -> None:
            health.stopping = True

        await run_task(beat.run(store), stop, before_cancel=begin_stop)
