"""QueueSearch: reads the list and the claims of a queue without changing them."""

from typing import NamedTuple

from redis.asyncio import Redis

from services.backbone import names
from services.backbone.queue import scripts


class QueueSlice(NamedTuple):
    """Neighbouring entries of a list, read in one atomic step."""

    length: int
    """The length of the list at that moment."""
    entries: list[bytes]
    """The last one of the list first."""


class HeldClaim(NamedTuple):
    """A claim of a kafkastore, as its lease states it."""

    key: bytes
    instance: str
    claimed_ms_ago: int
    """By the clock of the instance, which numbers its claims by the time, and the clock of Redis."""
    lease_ms: int
    """Time until it expires; negative after that."""
    entries: int


class QueueSearch:
    """Reads one Redis server. Every method raises QueueError. `redis` must not decode responses."""

    def __init__(self, redis: Redis) -> None:
        self._slice_script = redis.register_script(scripts.READ_SLICE)
        self._claims_script = redis.register_script(scripts.READ_CLAIMS)

    async def slice(self, key: str | bytes, *, skip: int, limit: int, max_bytes: int) -> QueueSlice:
        """Return up to `limit` entries of a list, from its tail on, without the last `skip` ones.

        Read a list in this direction: claims remove entries at its head, so a reader that starts at the head would skip
        entries. A push at the tail makes this reader see some entries twice instead. The entry that reaches `max_bytes`
        is the last one.
        """
        length, entries = await self._slice_script(keys=(key,), args=(skip, limit, max_bytes))
        return QueueSlice(int(length), entries)

    async def claims(self, *, limit: int) -> list[HeldClaim]:
        """Return the claims, those that expire first before the others, at most `limit` of them."""
        now_ms, found = await self._claims_script(keys=(names.CLAIM_LEASES,), args=(limit,))
        claims = []
        for key, expires_ms, entries in found:
            instance, claimed_ms = names.claim_parts(key.decode("utf-8", "replace"))
            lease_ms = int(float(expires_ms)) - int(now_ms)
            claims.append(HeldClaim(key, instance, max(0, int(now_ms) - claimed_ms), lease_ms, int(entries)))
        return claims
