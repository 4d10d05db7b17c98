"""Start a consumer, a worker, beat or the pages: `python -m services.consumers event_counter`, `... worker`, ..."""

import os
import sys
from functools import partial

from services.backbone.celery_worker import worker_name
from services.backbone.logs import configure_logging
from services.backbone.process import fail, load_settings, run_until_stopped
from services.consumers.core.actions import BULK_DATA, GEO_UPDATES, MATCH_NOTIFIER
from services.consumers.core.chat import CHATBOT
from services.consumers.core.jobs import JOBS
from services.consumers.core.places import GEONAMES
from services.consumers.handlers import HANDLERS
from services.consumers.settings import PagesProcessSettings, Settings, WorkerSettings
from services.consumers.worker import run

EXIT_USAGE = 2
WORKER = "worker"
ADMIN = "admin"
BEAT = "beat"
CELERY = "celery"
"""The process that `worker` starts. Its second argument is its name."""
RULES = {rule.handler: rule for rule in (GEO_UPDATES, MATCH_NOTIFIER, BULK_DATA, CHATBOT, GEONAMES)}


def main() -> None:
    """Read the name of the process and the settings, and run until stopped."""
    arguments = sys.argv[1:]
    if len(arguments) == 2 and arguments[0] == CELERY:  # noqa: PLR2004 - with its name
        _run_celery(load_settings(WorkerSettings, os.environ), arguments[1])
    if len(arguments) != 1 or arguments[0] not in (*HANDLERS, *RULES, WORKER, BEAT, ADMIN):
        error = f"unknown consumer {' '.join(arguments)!r}" if arguments else "the name of a consumer is missing"
        valid = " | ".join(sorted((*HANDLERS, *RULES, WORKER, BEAT, ADMIN)))
        fail(f"{error}\nusage: python -m services.consumers {{{valid}}}", EXIT_USAGE)
    name = arguments[0]
    kinds = {WORKER: WorkerSettings, ADMIN: PagesProcessSettings}
    settings = load_settings(kinds.get(name, Settings), os.environ)
    if name == WORKER:
        _run_worker(settings)
    elif name == BEAT:
        _run_beat(settings)
    elif name == ADMIN:
        _run_admin(settings)
    elif name in RULES:
        _run_action_consumer(name, settings)
    else:
        run_until_stopped(partial(run, HANDLERS[name], settings), settings, service=f"consumers.{name}")


def _run_action_consumer(name: str, settings: Settings) -> None:
    # Celery takes 30 MB, and the statistics consumers do not need it.
    from services.consumers.worker.acting_process import run_action_consumer  # noqa: PLC0415 - the reason is above

    run_until_stopped(partial(run_action_consumer, RULES[name], settings), settings, service=f"consumers.{name}")


def _run_worker(settings: Settings) -> None:
    from services.consumers.worker.celery_worker import run_worker  # noqa: PLC0415 - as above

    name = worker_name()
    command = (sys.executable, "-m", "services.consumers", CELERY, name)
    main = partial(run_worker, settings, tuple(RULES), name=name, command=command)
    run_until_stopped(main, settings, service="consumers.worker")


def _run_beat(settings: Settings) -> None:
    from services.consumers.worker.beat_process import run_schedule  # noqa: PLC0415 - it loads Celery

    run_until_stopped(partial(run_schedule, settings, JOBS), settings, service="consumers.beat")


def _run_admin(settings: Settings) -> None:
    from services.consumers.app import run_admin  # noqa: PLC0415 - pages need packages that consumers do not load

    run_until_stopped(partial(run_admin, settings, tuple(RULES), JOBS), settings, service="consumers.admin")


def _run_celery(settings: Settings, name: str) -> None:
    # Celery reads it when it is imported: at SIGTERM, running actions get some seconds, and then the worker ends.
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"
    from services.consumers.handlers.acting import ACTION_HANDLERS  # noqa: PLC0415 - the reason is above
    from services.consumers.handlers.jobs import scheduled_jobs  # noqa: PLC0415 - the reason is above
    from services.consumers.tasks import run_celery_worker  # noqa: PLC0415 - the reason is above

    configure_logging(service="consumers.celery", level=settings.log_level, output=settings.log_format)
    sys.exit(run_celery_worker(settings, ACTION_HANDLERS, scheduled_jobs(settings), name=name))


if __name__ == "__main__":
    main()
