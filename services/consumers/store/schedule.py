"""The schedule of the consumers, in the Redis of the actions."""

from typing import Final

from redis.asyncio import Redis

from services.backbone.redis import connect
from services.backbone.schedule import ScheduleStore
from services.consumers.settings import Settings

SERVICE: Final = "consumers"
"""The name of the schedule, in its keys and in the name of its queue."""
_REDIS_TIMEOUT_S: Final = 5.0


def schedule_of(redis: Redis, settings: Settings) -> ScheduleStore:
    """Return the schedule in an open Redis, which must decode responses."""
    return ScheduleStore(redis, SERVICE, limit_s=settings.time_limit_s)


def open_schedule(settings: Settings) -> ScheduleStore:
    """Return the schedule with a Redis of its own, which `aclose` closes."""
    # Each script may run twice: the first one decides.
    url = settings.actions_redis_url.get_secret_value()
    return schedule_of(connect(url, timeout_s=_REDIS_TIMEOUT_S, resend=True, text="strict"), settings)
