"""Start the pages, a worker or beat: `python -m services.offerserver admin`, `... worker`, `... beat`."""

import os
import sys
from functools import partial

from services.backbone.celery_worker import worker_name
from services.backbone.logs import configure_logging
from services.backbone.process import fail, load_settings, run_until_stopped
from services.offerserver.core.importer import Importer
from services.offerserver.importers.catalog import plan_of
from services.offerserver.importers.configured import InvalidSource
from services.offerserver.importers.directory import importers_of
from services.offerserver.settings import OfferPagesSettings, Settings

EXIT_USAGE = 2
"""Also for wrong settings."""
ADMIN = "admin"
WORKER = "worker"
BEAT = "beat"
CELERY = "celery"
"""The process that `worker` starts. Its second argument is its name."""


def main() -> None:
    """Read the name of the process and the settings, and run until stopped."""
    arguments = sys.argv[1:]
    if len(arguments) == 2 and arguments[0] == CELERY:  # noqa: PLR2004 - with its name
        _run_celery(load_settings(Settings, os.environ), arguments[1])
    if len(arguments) != 1 or arguments[0] not in (ADMIN, WORKER, BEAT):
        fail(f"usage: python -m services.offerserver {{{ADMIN} | {WORKER} | {BEAT}}}", EXIT_USAGE)
    if arguments[0] == ADMIN:
        _run_admin(load_settings(OfferPagesSettings, os.environ))
    elif arguments[0] == WORKER:
        _run_worker(load_settings(Settings, os.environ))
    else:
        _run_beat(load_settings(Settings, os.environ))


def _importers(settings: Settings) -> dict[str, Importer]:
    try:
        return importers_of(settings.sources)
    except InvalidSource as error:
        fail(f"OFFERS_SOURCES: {error}", EXIT_USAGE)


def _run_admin(settings: Settings) -> None:
    from services.offerserver.app import Planned, run_admin  # noqa: PLC0415 - workers need no pages
    from services.offerserver.handlers.jobs import REMOVE_STALE  # noqa: PLC0415 - as above

    importers = _importers(settings)
    plans = {name: plan_of(importer.source) for name, importer in importers.items()} | {REMOVE_STALE.name: REMOVE_STALE}
    run_until_stopped(partial(run_admin, settings, Planned(importers, plans)), settings, service="offerserver.admin")


def _run_worker(settings: Settings) -> None:
    from services.offerserver.worker.celery_process import run_worker  # noqa: PLC0415 - as above

    _importers(settings)  # an invalid file is reported here, and not by the worker again and again
    name = worker_name()
    command = (sys.executable, "-m", "services.offerserver", CELERY, name)
    run_until_stopped(partial(run_worker, settings, name=name, command=command), settings, service="offerserver.worker")


def _run_beat(settings: Settings) -> None:
    from services.offerserver.handlers.jobs import REMOVE_STALE  # noqa: PLC0415 - as above
    from services.offerserver.worker.beat_process import run_schedule  # noqa: PLC0415 - it loads Celery

    plans = [*(plan_of(importer.source) for importer in _importers(settings).values()), REMOVE_STALE]
    run_until_stopped(partial(run_schedule, settings, plans), settings, service="offerserver.beat")


def _run_celery(settings: Settings, name: str) -> None:
    # Celery reads it when it is imported: at SIGTERM, runs get some seconds, and then the worker ends.
    os.environ["REMAP_SIGTERM"] = "SIGQUIT"
    from services.offerserver.handlers.jobs import scheduled_jobs  # noqa: PLC0415 - the reason is above
    from services.offerserver.tasks import run_celery_worker  # noqa: PLC0415 - the reason is above

    configure_logging(service="offerserver.celery", level=settings.log_level, output=settings.log_format)
    importers = _importers(settings)
    plans = {name: plan_of(importer.source) for name, importer in importers.items()}
    sys.exit(run_celery_worker(settings, scheduled_jobs(settings, importers, plans), name=name))


if __name__ == "__main__":
    main()
