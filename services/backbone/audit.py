"""The audit list: what operators did, and who. It keeps the newest MOST_AUDITED entries in a Redis list."""

from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from services.backbone.clock import clock_ms

MOST_AUDITED: Final = 1_000


class AuditEntry(msgspec.Struct, frozen=True):
    """What an operator did."""

    at_ms: int
    by: str
    what: str
    count: int = 0
    """To how many things it was done."""
    subject: str = ""
    """To which thing it was done, if it has a name."""


class AuditList:
    """The audit list of one key. `redis` must decode responses. Raises RedisError when Redis does not respond."""

    def __init__(self, redis: Redis, key: str) -> None:
        self._redis = redis
        self._key = key

    async def add(self, by: str, what: str, *, count: int = 1, subject: str = "") -> None:
        """Add an entry with the current time."""
        entry = AuditEntry(clock_ms(), by, what, count, subject)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.lpush(self._key, msgspec.json.encode(entry).decode())
            pipeline.ltrim(self._key, 0, MOST_AUDITED - 1)
            await pipeline.execute()

    async def entries(self, most: int = MOST_AUDITED) -> list[AuditEntry]:
        """Return the newest entries, the newest first."""
        found: Any = await self._redis.lrange(self._key, 0, most - 1)
        return [msgspec.json.decode(each, type=AuditEntry) for each in found]
