"""The process of beat, which makes the workers check the importers."""

import asyncio
from collections.abc import Sequence

from services.backbone.beat import run_beat
from services.backbone.schedule import JobPlan
from services.offerserver.settings import Settings
from services.offerserver.store.celery_app import create_celery
from services.offerserver.store.connection import open_schedule


async def run_schedule(settings: Settings, plans: Sequence[JobPlan], stop: asyncio.Event) -> None:
    """Run beat until `stop` is set."""
    await run_beat(
        create_celery(settings),
        open_schedule(settings),
        plans,
        settings,
        stop,
        zone=settings.zone,
        check_s=settings.schedule_check_s,
    )
