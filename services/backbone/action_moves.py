"""Moves of action consumers to other offsets. The operators' task requests them, and the consumers apply them.

Kafka refuses a commit from outside while a group has members, and a member would commit its own offset again. So the
request is a key in the Redis of the actions, and the owner of the partition commits it: then nobody else can commit an
older offset. Without a running consumer, the next one applies it at its start.
"""

from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import Redis

from services.backbone import names

_REMOVE: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""


class RequestedMoves:
    """The requested moves. `redis` must decode responses. Every method raises RedisError without Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._remove = redis.register_script(_REMOVE)

    async def request(self, handler: str, offsets: Mapping[int, int]) -> None:
        """Request the next offset of each partition. It replaces an earlier request for the partition."""
        items = [str(number) for pair in offsets.items() for number in pair]
        if items:
            await self._redis.hset(names.action_moves_key(handler), items=items)

    async def read(self, handler: str) -> dict[int, int]:
        """Return the requested offsets that no consumer has applied, by partition."""
        stored: Any = await self._redis.hgetall(names.action_moves_key(handler))
        return {int(partition): int(offset) for partition, offset in stored.items()}

    async def remove(self, handler: str, partition: int, offset: int) -> None:
        """Remove an applied request, unless another one has replaced it."""
        await self._remove(keys=[names.action_moves_key(handler)], args=(str(partition), str(offset)))
