"""The Celery worker: its processes check the periodic jobs, and run those that are due."""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial

from celery import signals

from services.backbone import names
from services.backbone.schedule import ScheduledJob
from services.backbone.schedule.executor import JobExecutor
from services.offerserver.settings import Settings
from services.offerserver.store.celery_app import create_celery
from services.offerserver.store.connection import SERVICE, open_schedule
from services.offerserver.store.heartbeats import beat

_LOGGERS_OF_EACH_TASK = ("celery.worker.strategy", "celery.app.trace")
"""At INFO they log two lines for each check."""


def run_celery_worker(settings: Settings, jobs: Mapping[str, ScheduledJob], *, name: str) -> int:
    """Check and run periodic jobs until SIGTERM. Return the exit code.

    The environment must contain REMAP_SIGTERM=SIGQUIT before Celery is imported: at SIGTERM, runs then get
    SOFT_SHUTDOWN_S to end.
    """
    # One for each job, and one that is free for checks while all of them run.
    app = create_celery(settings, processes=min(len(jobs) + 1, settings.worker_processes))
    executor = JobExecutor(partial(open_schedule, settings), jobs, zone=settings.zone, late_s=settings.schedule_late_s)

    # The name of the parameter is that of the argument in the queue.
    @app.task(name=names.SCHEDULE_CHECK_TASK)  # type: ignore[untyped-decorator]
    def check_job(job: str) -> None:
        asyncio.run(beat(settings, name))
        executor.check(job)

    def keep_our_logging(**_: object) -> None:
        """Celery configures no logging if this signal has a receiver."""

    signals.setup_logging.connect(keep_our_logging, weak=False)
    for logger in _LOGGERS_OF_EACH_TASK:
        logging.getLogger(logger).setLevel(logging.WARNING)
    worker = app.Worker(
        hostname=name,
        queues=names.schedule_queue(SERVICE),
        loglevel="INFO",
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)
