"""EventSearch: searches the spool, the Redis list and the claims for single events, beside the tracker's work."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from redis.asyncio import Redis

from services.backbone import names
from services.backbone.queue import EventQueue, HeldClaim, QueueError, QueueSearch
from services.backbone.search import SearchedStore, StoredEntry, Target, TargetMatcher, TrackerReport
from services.tracker.store.events import EventStore

_MOST_ENTRIES: Final = 500_000
"""Entries that one search reads in each place."""
_LIMIT_S: Final = 5.0
"""Time limit of the search in each place."""
_TOO_LONG: Final = f"stopped after {_LIMIT_S:.0f} s"
_WAIT_S: Final = 3.0
"""How long a search waits for the one before it. With its own 15 s it stays below the time limit of kafidx."""
_SLICE_ENTRIES: Final = 250
_SLICE_BYTES: Final = 131_072
"""Bytes of a slice, beside its last entry or record. A slice keeps the event loop busy for about a millisecond."""
_MOST_CLAIMS: Final = 1_000
_MOST_FOUND: Final = 10


class SearchBusy(Exception):
    """Another search runs, and it has not ended in time."""


class EventSearch:
    """Searches for an operator. It changes nothing. One search runs at a time; another one waits for a bounded time.

    After each slice it waits as long as the slice took, so that requests on the public port get at least half of the
    CPU time.
    """

    def __init__(self, redis: Redis, store: EventStore, *, pod: str) -> None:
        """`redis` must not decode responses. `pod` is the address of this tracker in events."""
        self._queue = EventQueue(redis)
        self._lists = QueueSearch(redis)
        self._store = store
        self._pod = pod
        self._running = asyncio.Lock()

    async def run(self, targets: Sequence[Target]) -> TrackerReport:
        """Search for the targets. The report states what was not possible. Raises SearchBusy."""
        try:
            await asyncio.wait_for(self._running.acquire(), _WAIT_S)
        except TimeoutError:
            raise SearchBusy from None
        try:
            matcher = TargetMatcher(targets)
            # Events move in this order, so that none is missed while it moves.
            spool = None if self._store.spool is None else await _limited(matcher, self._search_spool)
            waiting = await _limited(matcher, self._search_list)
            claims = await _limited(matcher, self._search_claims)
            return TrackerReport(self._pod, self._store.redis_error, await self._ledger(), spool, waiting, claims)
        finally:
            self._running.release()

    async def _ledger(self) -> dict[str, int] | None:
        try:
            return (await self._queue.ledger())._asdict()
        except (QueueError, OSError):
            return None

    async def _search_spool(self, progress: "_Progress") -> None:
        spool = self._store.spool
        if spool is None:
            return
        progress.entries = spool.entries

        def take(segment: str, entry: bytes) -> None:
            progress.take(entry, before=progress.searched, segment=segment)

        begin_s = time.perf_counter()
        async for _ in spool.scan(take, part_bytes=_SLICE_BYTES):
            if progress.is_over:
                return
            await _pause(begin_s)
            begin_s = time.perf_counter()
        progress.entries = progress.searched  # Redis has confirmed the others meanwhile

    async def _search_list(self, progress: "_Progress") -> None:
        await self._search_entries(names.RAW_EVENTS_LIST, progress)

    async def _search_claims(self, progress: "_Progress") -> None:
        claims = await self._lists.claims(limit=_MOST_CLAIMS)
        for claim in claims:
            await self._search_entries(claim.key, progress, claim=claim)
        if len(claims) == _MOST_CLAIMS:
            progress.error = progress.error or f"only the first {_MOST_CLAIMS:,} claims were searched"

    async def _search_entries(self, key: str | bytes, progress: "_Progress", *, claim: HeldClaim | None = None) -> None:
        """Search one list of Redis from its tail to its head, the newest entries first."""
        begin, searched = progress.entries, 0
        while not progress.is_over:
            begin_s = time.perf_counter()
            part = await self._lists.slice(key, skip=searched, limit=_SLICE_ENTRIES, max_bytes=_SLICE_BYTES)
            for entry in part.entries:
                searched += 1
                progress.take(entry, before=part.length - searched, claim=claim)
            # Entries that a kafkastore takes meanwhile are no longer there; pushes add some that are read twice.
            progress.entries = begin + max(searched, part.length)
            if searched >= part.length:
                return
            await _pause(begin_s)


class _Progress:
    """The state of the search in one place."""

    def __init__(self, matcher: TargetMatcher) -> None:
        self._matcher = matcher
        self._ends_s = time.monotonic() + _LIMIT_S
        self.entries = 0
        self.searched = 0
        self.found: list[StoredEntry] = []
        self._seen: set[int] = set()
        """Hashes of the found entries: pushes at the tail can make a search read an entry twice."""
        self._found_of: Counter[int] = Counter()
        self.error = ""

    @property
    def is_over(self) -> bool:
        """Whether the search has reached its limit."""
        if self.searched >= _MOST_ENTRIES:
            self.error = f"stopped after {_MOST_ENTRIES:,} entries"
        elif time.monotonic() > self._ends_s:
            self.error = _TOO_LONG
        return self.error != ""

    def take(self, entry: bytes, *, before: int, segment: str = "", claim: HeldClaim | None = None) -> None:
        """Compare one entry with the targets."""
        self.searched += 1
        match = self._matcher.match_entry(entry)
        wanted = [target for target in match.targets if self._found_of[target] < _MOST_FOUND]
        if not wanted or hash(entry) in self._seen:
            return
        self._seen.add(hash(entry))
        for target in wanted:
            self._found_of[target] += 1
            self.found.append(
                StoredEntry(
                    target,
                    before=max(0, before),
                    decodable=match.decodable,
                    segment=segment,
                    instance="" if claim is None else claim.instance,
                    claimed_ms_ago=None if claim is None else claim.claimed_ms_ago,
                    lease_ms=None if claim is None else claim.lease_ms,
                )
            )


async def _limited(matcher: TargetMatcher, search: Callable[[_Progress], Awaitable[None]]) -> SearchedStore:
    progress = _Progress(matcher)
    try:
        async with asyncio.timeout(_LIMIT_S):
            await search(progress)
    except TimeoutError:
        progress.error = _TOO_LONG
    except QueueError as error:
        progress.error = f"Redis does not respond ({type(error).__name__})"
    except OSError as error:
        progress.error = f"reading failed: {error.strerror or type(error).__name__}"
    return SearchedStore(progress.entries, progress.searched, progress.found, progress.error)


async def _pause(begin_s: float) -> None:
    await asyncio.sleep(time.perf_counter() - begin_s)
