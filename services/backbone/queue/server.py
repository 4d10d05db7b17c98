"""The Redis server of a queue: how to connect to it, and which one will not do."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig


def connect(url: str, *, timeout_s: float) -> Redis:
    """Make the client that a queue uses. It connects at its first command, and again after each failure.

    Each command takes `timeout_s` at most and is never sent again unseen: a push whose answer was lost may have
    happened, and would be stored twice.
    """
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        # What some servers announce of their maintenance would come between answers.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )


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
