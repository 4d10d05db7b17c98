"""Check that a Redis server is safe for the queue."""

from redis.asyncio import Redis


class EvictionAllowed(Exception):  # noqa: N818 - what is wrong, in two words
    """The Redis may remove keys when its memory is full: it would lose events that were answered."""


async def refuse_eviction(redis: Redis) -> None:
    """Raise EvictionAllowed unless Redis refuses writes when its memory is full. Raises QueueError."""
    memory = await redis.info("memory")
    policy = memory.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise EvictionAllowed(
            f"Redis' maxmemory-policy is {policy}: when memory is full it would throw away events that were answered; "
            "set it to noeviction"
        )
