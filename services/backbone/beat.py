"""The process of Celery beat: it sends a check of each job of a service every few seconds (services.backbone.schedule).

Twice a second it also reads the states of all jobs, in one round trip to Redis, and sends a check of a job that has
become due. So a run begins within a second if a process of a worker is free. The regular checks find what was lost.

Beat holds no plan and no memory, so it may be killed, restarted or run twice at any time.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from celery import Celery, signals
from celery.beat import Scheduler, Service
from kombu.exceptions import OperationalError
from prometheus_client import CollectorRegistry

from services.backbone import names
from services.backbone.health import Health, create_internal_app
from services.backbone.process import http_server, run_task
from services.backbone.redis_outages import RedisOutages
from services.backbone.schedule import JobPlan, ScheduleStore, ScheduleStoreError
from services.backbone.schedule.due import DueJobs
from services.backbone.schedule.metrics import ScheduleMetrics
from services.backbone.settings import ProcessSettings

SILENCE_S: Final = 60.0
"""Time without a sent check after which beat counts as silent and is restarted, unless Redis is down."""
_MOST_ROUNDS: Final = 10
"""The most checks of each job that wait in the queue while no worker takes them."""
_LOOK_S: Final = 0.5
_STOP_LIMIT_S: Final = 5.0


class BeatEnded(Exception):
    """The thread of beat has ended by itself, or is silent."""


class Beat:
    """Celery beat in a thread. It sends a check of each job every `check_s`, and of a due job at once."""

    def __init__(self, app: Celery, service: str, plans: Sequence[JobPlan], *, zone: ZoneInfo, check_s: float) -> None:
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
        # At INFO it logs a line for each check.
        logging.getLogger("celery.beat").setLevel(logging.WARNING)
        self._app = app
        self._queue = names.schedule_queue(service)
        self._jobs = [plan.name for plan in plans]
        self._due = DueJobs(plans, zone)
        self._outages = RedisOutages()
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
                    await self._look(store)
                    self._outages.succeeded()
                except (ScheduleStoreError, OperationalError, OSError) as error:
                    self._outages.failed(error)
                    self._sent_s = time.monotonic()  # beat can send nothing then
                if self.silent_s > self._silence_s:
                    raise BeatEnded(f"beat has sent no check for {self.silent_s:.0f} s")
        finally:
            signals.after_task_publish.disconnect(self._on_sent)
            await asyncio.to_thread(self._stop)

    async def _look(self, store: ScheduleStore) -> None:
        """Send a check of each job that has become due, and limit the queue."""
        states = await store.states(self._jobs, most_checks=_MOST_ROUNDS * len(self._jobs))
        for job in self._due.find(states, store.clock()):
            await asyncio.to_thread(
                self._app.send_task,
                names.SCHEDULE_CHECK_TASK,
                args=(job,),
                queue=self._queue,
                ignore_result=True,
                retry=False,
            )

    def _stop(self) -> None:
        self._service.stop()
        self._thread.join(_STOP_LIMIT_S)

    def _on_sent(self, **_: Any) -> None:
        # The signal comes in the thread that has sent. Checks of due jobs say nothing about the thread of beat.
        if threading.current_thread() is self._thread:
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
    beat = Beat(app, store.service, plans, zone=zone, check_s=check_s)

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
