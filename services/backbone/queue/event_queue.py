"""EventQueue: the Redis list between tracker and kafkastore, its claims and its ledger.

Delivery guarantee: an entry is in the list, or in exactly one claim, until it is confirmed. Every move is one atomic
step in Redis. The same steps change the ledger, so at every instant, whichever process is killed:

    accepted = produced + dead + waiting        (waiting: in the list or in a claim)

Each push has a producer id and a sequence, and Redis takes each sequence once. So a push whose response was lost can be
sent again. Entries of an erased device leave the ledger.

A claim is a separate list. A sorted set contains the lease of each claim; its score is the expiry time by the clock
of the Redis server. So client clocks do not matter, and no lock can remain. When the lease of a dead instance expires,
its entries go back to the head of the list, in their old order.
"""

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.queue import scripts
from services.backbone.queue.script_runner import ScriptRunner

QueueError = RedisError
"""Raised by every method when Redis does not respond in time or responds with an error. The operation may have happened
or not. A retry is safe: a claim whose response was lost goes back to the list when its lease expires."""

_PRODUCER_KEPT_S: Final = 86_400
"""How long Redis remembers the last sequence of a producer. A producer must retry a push within that time."""


class Claim(NamedTuple):
    """Entries that one instance has claimed and not yet confirmed."""

    key: str
    entries: list[bytes]
    erased: int = 0
    """Number of erased devices in this Redis. EventQueue.erased returns them."""


class Ledger(NamedTuple):
    """The ledger of one Redis and the lengths of list and claims, read in one atomic step."""

    accepted: int = 0
    produced: int = 0
    dead: int = 0
    listed: int = 0
    claimed: int = 0
    erased: int = 0
    """Entries that were dropped because their device is erased. `accepted` does not contain them."""

    @property
    def waiting(self) -> int:
        """Entries not yet produced: in the list or in a claim."""
        return self.listed + self.claimed

    @property
    def unaccounted(self) -> int:
        """Entries that the ledger can't explain. Any value but 0 is a bug."""
        return self.accepted - self.produced - self.dead - self.waiting


class EventQueue:
    """The queue in one Redis server. `redis` must not decode responses."""

    def __init__(self, redis: Redis, *, instance: str = "", lease_s: float = 15.0) -> None:
        """Use `instance`, unique to this process, in the keys of claims.

        A claim expires after `lease_s` unless it is renewed.
        A process that only pushes or reads the ledger needs neither argument.
        """
        self._redis = redis
        self._instance = instance
        self._lease_ms = int(lease_s * 1000)
        self._last_claim = 0
        self._push_runner = ScriptRunner(redis, scripts.PUSH)
        self._claim_script = redis.register_script(scripts.CLAIM)
        self._confirm_script = redis.register_script(scripts.CONFIRM)
        self._renew_script = redis.register_script(scripts.RENEW)
        self._give_back_script = redis.register_script(scripts.GIVE_BACK)
        self._ledger_script = redis.register_script(scripts.LEDGER_SUMS)

    async def push(
        self, entries: Sequence[bytes], *, producer_id: str = "", sequence: int = 0, timeout_s: float | None = None
    ) -> bool:
        """Append all entries to the list in one atomic step. Return after Redis has confirmed them.

        Raises QueueError after `timeout_s`, or after the timeout of the client if that is shorter.

        With a `sequence` (from 1), a push has no effect and returns False when Redis has taken this or a higher
        sequence of the same producer. So a push whose response was lost can be sent again within a day, and its entries
        are stored once.
        """
        keys = (names.RAW_EVENTS_LIST, names.LEDGER, names.producer_key(producer_id))
        return bool(await self._push_runner.run(keys, (sequence, _PRODUCER_KEPT_S, *entries), timeout_s=timeout_s))

    async def claim(self, *, limit: int, max_bytes: int, wait_s: float) -> Claim | None:
        """Claim up to `limit` entries from the head of the list. The entry that reaches `max_bytes` is the last one.

        If the list is empty, wait up to `wait_s` for the first entry (0: do not wait), then claim the available entries
        at once: a single event is never delayed. Return None without entries.
        """
        claim = await self._take(limit=limit, max_bytes=max_bytes)
        if not claim.entries and wait_s > 0 and await self._anything_within(wait_s):
            claim = await self._take(limit=limit, max_bytes=max_bytes)
        return claim if claim.entries else None

    async def confirm(self, claim: Claim, *, produced: int, dead: int, erased: int = 0) -> bool:
        """Remove a claim: `produced` entries are in Kafka, `dead` in the dead letters, `erased` were dropped.

        Return False if the lease had expired and the entries are back in the list. They are then produced again with
        another claim, and the ledger counts them with that claim.
        """
        keys = (claim.key, names.CLAIM_LEASES, names.LEDGER)
        return bool(await self._confirm_script(keys=keys, args=(produced, dead, erased)))

    async def renew(self, claims: Sequence[Claim]) -> bool:
        """Renew the leases of claims in progress. Return False if any of them was taken back."""
        if not claims:
            return True
        keys = (names.CLAIM_LEASES, *(claim.key for claim in claims))
        return int(await self._renew_script(keys=keys, args=(self._lease_ms,))) == len(claims)

    async def give_back(self, claim: Claim) -> int:
        """Put the entries of a claim back at the head of the list, in order, and return how many."""
        keys = (names.RAW_EVENTS_LIST, names.CLAIM_LEASES, claim.key)
        return int(await self._give_back_script(keys=keys))

    async def reclaim(self) -> int:
        """Put the entries of expired claims back into the list, and return how many."""
        return int(await self._give_back_script(keys=(names.RAW_EVENTS_LIST, names.CLAIM_LEASES)))

    async def ledger(self) -> Ledger:
        """Read the ledger and the lengths of list and claims in one atomic step."""
        keys = (names.RAW_EVENTS_LIST, names.CLAIM_LEASES, names.LEDGER)
        return Ledger(*await self._ledger_script(keys=keys))

    async def erased(self) -> frozenset[bytes]:
        """Return the digests of erased devices. Each Claim contains their number."""
        digests: Any = await self._redis.smembers(names.ERASED_DEVICES)
        return frozenset(digests)

    async def check_writable(self) -> None:
        """Write to Redis without changing anything. Raises QueueError when Redis rejects writes.

        A replica, and a Redis without memory or disk space, respond to reads but reject writes.
        """
        await self._redis.hincrby(names.LEDGER, "accepted", 0)

    async def _anything_within(self, wait_s: float) -> bool:
        """Wait in Redis until the list has an entry. BLMOVE moves the head onto itself: only a claim takes entries."""
        head = await self._redis.blmove(names.RAW_EVENTS_LIST, names.RAW_EVENTS_LIST, wait_s, "LEFT", "LEFT")  # type: ignore[arg-type]  # Redis takes fractions
        return head is not None

    async def _take(self, *, limit: int, max_bytes: int) -> Claim:
        # Each call uses a new key, so that a late call with a lost response does not add to a claim in progress. The
        # number is the time, or one more than the last number, so that QueueSearch can report the age of a claim.
        self._last_claim = max(self._last_claim + 1, time.time_ns() // 1_000_000)
        key = names.claim_list(self._instance, self._last_claim)
        keys = (names.RAW_EVENTS_LIST, key, names.CLAIM_LEASES, names.ERASED_DEVICES)
        erased, entries = await self._claim_script(keys=keys, args=(limit, max_bytes, self._lease_ms))
        return Claim(key, entries, erased)
