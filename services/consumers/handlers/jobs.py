"""What the periodic jobs do."""

from functools import partial
from typing import Final

from services.backbone.clock import clock_ms
from services.backbone.dead_actions import DeadActions
from services.backbone.schedule import ScheduledJob
from services.consumers.core.jobs import EXPIRE_DEAD_ACTIONS
from services.consumers.settings import Settings
from services.consumers.store.connection import connect_actions

_DAY_MS: Final = 86_400_000


async def expire_dead_actions(settings: Settings) -> str:
    """Delete the dead actions, and the invalid events, that are older than ACTIONS_DEAD_DAYS."""
    async with connect_actions(settings) as redis:
        before_ms = clock_ms() - settings.dead_days * _DAY_MS
        deleted = await DeadActions(redis).delete_before(before_ms, by=EXPIRE_DEAD_ACTIONS.name)
    return f"deleted {deleted} entries of the dead list"


def scheduled_jobs(settings: Settings) -> dict[str, ScheduledJob]:
    """Return the jobs by name."""
    jobs = (ScheduledJob(EXPIRE_DEAD_ACTIONS, partial(expire_dead_actions, settings)),)
    return {job.plan.name: job for job in jobs}
