"""EventQueue: the Redis list between tracker and kafkastore, its claims and its ledger.

Delivery promise: an entry is in the list, or in exactly one claim, until it is confirmed; every move is one atomic step
in Redis. The ledger is changed in the same steps, so at every instant, whoever is killed:

    accepted = produced + dead + waiting        (waiting: in the list or in a claim)

Pushes are numbered by their pusher, and a number is taken once: a push whose answer was lost can be sent again. What
is forgotten on request leaves the books as if it had never come.

A claim is a list of its own, named in a sorted set of leases whose scores are expiry times by the Redis server's clock:
no client clock matters and no lock can stick. What an instance held when it died goes back to the head of the
list, in its old order, once its lease has run out.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.queue import scripts
from services.backbone.queue.script_runner import ScriptRunner

QueueError = RedisError
"""Raised by every method when Redis does not answer in time or answers with an error. What was asked may then have
happened or not. Trying again is safe: a claim that went unheard comes back when its lease runs out."""

_PRODUCER_KEPT_S: Final = 86_400
"""How long Redis remembers a pusher that is silent: what it can't confirm is sent again within that time."""


class Claim(NamedTuple):
    """Entries that one instance has taken and not yet confirmed."""

    key: str
    entries: list[bytes]
    erased: int = 0
    """How many devices this Redis has been told to forget; see EventQueue.forgotten."""


class Ledger(NamedTuple):
    """The ledger of one Redis and what waits in it, read in one atomic step."""

    accepted: int = 0
    produced: int = 0
    dead: int = 0
    listed: int = 0
    claimed: int = 0
    erased: int = 0
    """Entries dropped because their device was to be forgotten; they are not in `accepted` any more."""

    @property
    def waiting(self) -> int:
        """Entries not yet produced: in the list or in a claim."""
        return self.listed + self.claimed

    @property
    def unaccounted(self) -> int:
        """What the books can't explain; anything but 0 is a bug."""
        return self.accepted - self.produced - self.dead - self.waiting


class EventQueue:
    """The queue in one Redis server. `redis` must not decode responses."""

    def __init__(self, redis: Redis, *, instance: str = "", lease_s: float = 15.0) -> None:
        """Use `instance`, unique to this process, to name claims that hold for `lease_s` unless renewed.

        A process that only pushes or reads the books needs neither.
        """
        self._redis = redis
        self._instance = instance
        self._lease_ms = int(lease_s * 1000)
        self._claims_made = 0
        self._push_runner = ScriptRunner(redis, scripts.PUSH)
        self._claim_script = redis.register_script(scripts.CLAIM)
        self._confirm_script = redis.register_script(scripts.CONFIRM)
        self._renew_script = redis.register_script(scripts.RENEW)
        self._give_back_script = redis.register_script(scripts.GIVE_BACK)
        self._ledger_script = redis.register_script(scripts.LEDGER_SUMS)

    async def push(
        self, entries: Sequence[bytes], *, producer_id: str = "", sequence: int = 0, timeout_s: float | None = None
    ) -> bool:
        """Append entries to the list, all or none; when it returns, Redis has confirmed them.

        Gives up after `timeout_s`, or the client's own limit where that is shorter.

        With a `sequence` (from 1), a push has no effect and returns False when Redis has taken this or a higher
        sequence of the same producer. So a push whose response was lost can be sent again within a day, and its entries
        are stored once.
        """
        keys = (names.RAW_EVENTS_LIST, names.LEDGER, names.producer_key(producer_id))
        return bool(await self._push_runner.run(keys, (sequence, _PRODUCER_KEPT_S, *entries), timeout_s=timeout_s))

    async def claim(self, *, limit: int, max_bytes: int, wait_s: float) -> Claim | None:
        """Take up to `limit` entries off the head of the list; the one that reaches `max_bytes` is the last.

        Waits up to `wait_s` for the first entry when the list is empty (0: does not wait) and returns at once with
        what there is then: a lone event is never held back. None when nothing came.
        """
        claim = await self._take(limit=limit, max_bytes=max_bytes)
        if not claim.entries and wait_s > 0 and await self._anything_within(wait_s):
            claim = await self._take(limit=limit, max_bytes=max_bytes)
        return claim if claim.entries else None

    async def confirm(self, claim: Claim, *, produced: int, dead: int, erased: int = 0) -> bool:
        """Remove a claim for good: `produced` of its entries are in Kafka, `dead` are in the dead letters.

        `forgotten` were dropped on request and leave the books.

        False when the lease had run out and the entries were taken back meanwhile: then they will be produced
        again by whoever claims them, and the ledger counts them there.
        """
        keys = (claim.key, names.CLAIM_LEASES, names.LEDGER)
        return bool(await self._confirm_script(keys=keys, args=(produced, dead, erased)))

    async def renew(self, claims: Sequence[Claim]) -> bool:
        """Extend the leases of claims still being worked on; False when any of them has been taken back."""
        if not claims:
            return True
        keys = (names.CLAIM_LEASES, *(claim.key for claim in claims))
        return int(await self._renew_script(keys=keys, args=(self._lease_ms,))) == len(claims)

    async def give_back(self, claim: Claim) -> int:
        """Put a claim's entries back at the head of the list, in order; returns how many."""
        keys = (names.RAW_EVENTS_LIST, names.CLAIM_LEASES, claim.key)
        return int(await self._give_back_script(keys=keys))

    async def reclaim(self) -> int:
        """Put back what instances held whose leases ran out; returns how many entries came back."""
        return int(await self._give_back_script(keys=(names.RAW_EVENTS_LIST, names.CLAIM_LEASES)))

    async def ledger(self) -> Ledger:
        """Read the ledger and the lengths of list and claims in one atomic step."""
        keys = (names.RAW_EVENTS_LIST, names.CLAIM_LEASES, names.LEDGER)
        return Ledger(*await self._ledger_script(keys=keys))

    async def erased(self) -> frozenset[bytes]:
        """Return the digests of the devices whose entries are to be dropped. Their number is in each Claim."""
        digests: Any = await self._redis.smembers(names.ERASED_DEVICES)
        return frozenset(digests)

    async def check_writable(self) -> None:
        """Write to Redis without changing anything. Raises QueueError when Redis rejects writes.

        A replica, and a Redis without memory or disk space, respond to reads but reject writes.
        """
        await self._redis.hincrby(names.LEDGER, "accepted", 0)

    async def _anything_within(self, wait_s: float) -> bool:
        """Sleep in Redis until the list holds something. Moves the head onto itself: only a claim takes entries."""
        head = await self._redis.blmove(names.RAW_EVENTS_LIST, names.RAW_EVENTS_LIST, wait_s, "LEFT", "LEFT")  # type: ignore[arg-type]  # Redis takes fractions
        return head is not None

    async def _take(self, *, limit: int, max_bytes: int) -> Claim:
        # A key of its own for each question: one that is late, and heard by nobody, must not add to a claim in hand.
        self._claims_made += 1
        key = names.claim_list(self._instance, self._claims_made)
        keys = (names.RAW_EVENTS_LIST, key, names.CLAIM_LEASES, names.ERASED_DEVICES)
        erased, entries = await self._claim_script(keys=keys, args=(limit, max_bytes, self._lease_ms))
        return Claim(key, entries, erased)
