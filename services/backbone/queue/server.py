"""Check that a Redis server is safe for the queue."""

from redis.asyncio import Redis


class EvictionAllowed(Exception):
    """The Redis may evict keys when its memory is full, so it can lose acknowledged events."""


async def refuse_eviction(redis: Redis) -> None:
    """Raise EvictionAllowed unless Redis refuses writes when its memory is full. Raises QueueError."""
    memory = await redis.info("memory")
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise EvictionAllowed(
            f"Redis' maxmemory-policy is {policy}: it can lose acknowledged events when its memory is full. "
            "Set it to noeviction"
        )
