"""QueueAdmin: the operations on a queue that only operators need. Services use EventQueue, on the same Redis keys."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from redis.asyncio import Redis

from services.backbone import names
from services.backbone.queue import EventQueue, scripts

_REPLAYED_KEPT_MS: Final = 90 * 86_400_000
"""How long Redis remembers a replayed dead letter: longer than its topic keeps it."""
_MARKS_AT_ONCE: Final = 1000


class QueueAdmin:
    """Inspect and repair the queue in one Redis server. `redis` must not decode responses.

    Every method raises QueueError when Redis does not respond. The change may then have happened or not.
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
        """Mark a device, given by its digest, as erased: every later claim of kafkastore drops its entries."""
        await self._redis.sadd(names.ERASED_DEVICES, device)

    async def remove(self, entries: Sequence[bytes]) -> int:
        """Remove entries of an erased device from the list, and return how many were still there."""
        if not entries:
            return 0
        return int(await self._remove_script(keys=(names.RAW_EVENTS_LIST, names.LEDGER), args=entries))

    async def requeue(self, entry: bytes, *, letter: bytes) -> bool:
        """Put the entry of a dead letter, given by its digest, back into the list.

        Return False, and do nothing, if it was put back before. Otherwise the ledger counts the entry as waiting again
        instead of dead.
        """
        keys = (names.RAW_EVENTS_LIST, names.LEDGER, names.REPLAYED_DEAD_LETTERS)
        return bool(await self._requeue_script(keys=keys, args=(entry, letter, _REPLAYED_KEPT_MS)))

    async def mark_requeued(self, dead_letters: Sequence[bytes]) -> None:
        """Mark dead letters, given by their digests, as put back: another letter of the same entry is put back."""
        for first in range(0, len(dead_letters), _MARKS_AT_ONCE):
            marks = dead_letters[first : first + _MARKS_AT_ONCE]
            await self._mark_script(keys=(names.REPLAYED_DEAD_LETTERS,), args=marks)

    async def requeued(self, dead_letters: Sequence[bytes]) -> frozenset[bytes]:
        """Return those dead letters, given by their digests, that were put back."""
        found: set[bytes] = set()
        for first in range(0, len(dead_letters), _MARKS_AT_ONCE):
            part = dead_letters[first : first + _MARKS_AT_ONCE]
            marks: Any = part  # the type hints of the client allow text only
            scores = await self._redis.zmscore(names.REPLAYED_DEAD_LETTERS, marks)
            found.update(letter for letter, score in zip(part, scores, strict=True) if score is not None)
        return frozenset(found)
