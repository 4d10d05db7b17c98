"""QueueAdmin: the operations on a queue that only operators need. Services use EventQueue, on the same Redis keys."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from services.backbone import names
from services.backbone.queue import EventQueue, scripts

_REPLAYED_KEPT_MS: Final = 90 * 86_400_000
"""How long Redis remembers a replayed dead letter. This is longer than the retention of the topic of dead letters."""
_MARKS_AT_ONCE: Final = 1000


class QueueAdmin:
    """Inspect and repair the queue in one Redis server. `redis` must not decode responses.

    Every method raises QueueError when Redis does not respond. In this case, Redis may or may not have made the change.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._queue = EventQueue(redis)
        self._remove_script = redis.register_script(scripts.REMOVE)
        self._requeue_script = redis.register_script(scripts.REQUEUE)
        self._mark_script = redis.register_script(scripts.MARK_REPLAYED)

    async def claims(self) -> frozenset[str]:
        """Return the keys of all claims that are held now."""
        held: Any = await self._redis.zrange(names.CLAIM_LEASES, 0, -1)
        return frozenset(key.decode() for key in held)

    async def reclaim(self) -> int:
        """Put the entries of expired claims back into the list, and return how many."""
        return await self._queue.reclaim()

    async def waiting(self, *, chunk: int = 1000) -> AsyncIterator[bytes]:
        """Yield the entries of the list from its head, and leave them there.

        A claim that is made meanwhile shifts the list, so entries may be skipped. Every yielded entry was in the list.
        """
        begin = 0
        while True:
            entries: Any = await self._redis.lrange(names.RAW_EVENTS_LIST, begin, begin + chunk - 1)
            if not entries:
                return
            for entry in entries:
                yield entry
            begin += chunk

    async def erase(self, device: bytes) -> None:
        """Mark a device as erased. kafkastore drops the entries of this device from every later claim.

        `device` is the digest of the device id.
        """
        await self._redis.sadd(names.ERASED_DEVICES, device)

    async def remove(self, entries: Sequence[bytes]) -> int:
        """Remove entries of an erased device from the list, and return how many were still there."""
        if not entries:
            return 0
        return int(await self._remove_script(keys=(names.RAW_EVENTS_LIST, names.LEDGER), args=entries))

    async def requeue(self, entry: bytes, *, letter: bytes) -> bool:
        """Put the entry of a dead letter back into the list. `letter` is the digest of the dead letter.

        Return False and change nothing if this letter was put back before. Otherwise, the ledger counts the entry as
        waiting, and no longer as dead.
        """
        keys = (names.RAW_EVENTS_LIST, names.LEDGER, names.REPLAYED_DEAD_LETTERS)
        return bool(await self._requeue_script(keys=keys, args=(entry, letter, _REPLAYED_KEPT_MS)))

    async def mark_requeued(self, dead_letters: Sequence[bytes]) -> None:
        """Mark dead letters as put back, but do not change the list. `dead_letters` contains their digests.

        Use it for duplicates: the caller puts another letter of the same entry back.
        """
        for first in range(0, len(dead_letters), _MARKS_AT_ONCE):
            marks = dead_letters[first : first + _MARKS_AT_ONCE]
            await self._mark_script(keys=(names.REPLAYED_DEAD_LETTERS,), args=marks)

    async def requeued(self, dead_letters: Sequence[bytes]) -> frozenset[bytes]:
        """Return the dead letters that were put back. Argument and result contain the digests of letters."""
        found: set[bytes] = set()
        for first in range(0, len(dead_letters), _MARKS_AT_ONCE):
            part = dead_letters[first : first + _MARKS_AT_ONCE]
            marks: Any = part  # the type hints of the client allow text only
            scores = await self._redis.zmscore(names.REPLAYED_DEAD_LETTERS, marks)
            found.update(letter for letter, score in zip(part, scores, strict=True) if score is not None)
        return frozenset(found)
