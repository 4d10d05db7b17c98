"""The schedule of the consumers, in the Redis of the actions."""

from typing import Final

from redis.asyncio import Redis

from services.backbone.schedule import ScheduleStore
from services.consumers.settings import Settings
from services.consumers.store.connection import connect_actions

SERVICE: Final = "consumers"
"""The name of the schedule, in its keys and in the name of its queue."""


def schedule_of(redis: Redis, settings: Settings) -> ScheduleStore:
    """Return the schedule in an open Redis, which must decode responses."""
    return ScheduleStore(redis, SERVICE, limit_s=settings.time_limit_s)


def open_schedule(settings: Settings) -> ScheduleStore:
    """Return the schedule with a Redis of its own, which `aclose` closes."""
    return schedule_of(connect_actions(settings), settings)
