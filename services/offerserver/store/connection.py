"""The connection to the Redis of the importers, and their schedule there."""

from typing import Final

from redis.asyncio import Redis

from services.backbone.redis import connect
from services.backbone.schedule import ScheduleStore
from services.offerserver.settings import Settings

SERVICE: Final = "offers"
"""The name of the schedule, in its keys and in the name of its queue."""
_TIMEOUT_S: Final = 5.0


def connect_offers(settings: Settings, *, timeout_s: float = _TIMEOUT_S) -> Redis:
    """Return a client that decodes responses. It connects at the first request.

    A request whose response is lost is sent again. So every script may run twice: the first run decides.
    """
    return connect(settings.redis_url.get_secret_value(), timeout_s=timeout_s, resend=True, text="strict")


def schedule_of(redis: Redis, settings: Settings) -> ScheduleStore:
    """Return the schedule in an open Redis, which must decode responses."""
    return ScheduleStore(redis, SERVICE, limit_s=settings.run_limit_s)


def open_schedule(settings: Settings) -> ScheduleStore:
    """Return the schedule with a Redis of its own, which `aclose` closes."""
    return schedule_of(connect_offers(settings), settings)
