"""The audit list: what operators did, and who. It keeps the newest MOST_AUDITED entries in a Redis list."""

from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from services.backbone.clock import clock_ms

MOST_AUDITED: Final = 1_000
ADD_ENTRY: Final = f"""
local function audit(list, entry)
    redis.call('LPUSH', list, entry)
    redis.call('LTRIM', list, 0, {MOST_AUDITED - 1})
end
"""
"""A function for scripts that write an entry in the same step as the change."""


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
        self.key = key

    async def add(self, by: str, what: str, *, count: int = 1, subject: str = "") -> None:
        """Add an entry with the current time."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.lpush(self.key, encode_entry(by, what, count=count, subject=subject))
            pipeline.ltrim(self.key, 0, MOST_AUDITED - 1)
            await pipeline.execute()

    async def entries(self, most: int = MOST_AUDITED) -> list[AuditEntry]:
        """Return the newest entries, the newest first."""
        found: Any = await self._redis.lrange(self.key, 0, most - 1)
        return [msgspec.json.decode(each, type=AuditEntry) for each in found]


def encode_entry(by: str, what: str, *, count: int = 1, subject: str = "") -> str:
    """Return an entry with the current time, for a script that writes it together with the change (ADD_ENTRY)."""
    return msgspec.json.encode(AuditEntry(clock_ms(), by, what, count, subject)).decode()
