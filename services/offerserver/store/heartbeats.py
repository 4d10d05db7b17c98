"""The heartbeats of workers: each check that a worker executes is one."""

import contextlib

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.clock import clock_ms
from services.offerserver.settings import Settings
from services.offerserver.store.connection import connect_offers

_KEEP_S = 86_400


async def beat(settings: Settings, worker: str) -> None:
    """Record that a worker executes a check. Without Redis, nothing is recorded."""
    with contextlib.suppress(RedisError):
        async with connect_offers(settings) as redis:
            await redis.set(names.offers_worker_key(worker), str(clock_ms()), ex=_KEEP_S)


async def last_beat_ms(redis: Redis, worker: str) -> int | None:
    """Return when a worker last executed a check; None: not yet. Raises RedisError."""
    found = await redis.get(names.offers_worker_key(worker))
    return None if found is None else int(found)
