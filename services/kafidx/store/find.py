"""Finder: asks all parts of the system for single events. It only reads."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from redis.asyncio import Redis

from services.backbone.counters import CounterStore, CounterStoreError
from services.kafidx.core.find import ConsumerPositions, Evidence, TrackerResult, as_json, judge
from services.kafidx.core.find_query import FindQuery, time_of_id
from services.kafidx.metrics import Metrics
from services.kafidx.settings import Settings
from services.kafidx.store.find_topic import search_dead_letters, search_events
from services.kafidx.store.find_trackers import Trackers

_WAIT_S: Final = 10.0
"""How long a search waits for the one before it."""
_BEFORE_MS: Final = 1000
_MINUTE_MS: Final = 60_000


class FinderBusy(Exception):
    """Another search runs, and it has not ended in time."""


class Finder:
    """Searches for events, one search at a time: a search reads up to half a million records of two topics."""

    def __init__(self, settings: Settings, redis: Redis, metrics: Metrics) -> None:
        """`redis` is the one of the counters and must decode responses."""
        self._settings = settings
        self._counters = CounterStore(redis)
        self._trackers = Trackers(settings.trackers)
        self._metrics = metrics
        self._running = asyncio.Lock()

    async def find(self, query: FindQuery, *, since_minutes: int | None, default_minutes: int) -> dict[str, Any]:
        """Return the verdict and the stages of each target, for the JSON and the template. Raises FinderBusy.

        A part of the system that does not respond is named in the result. Kafka is searched from the time of the ids,
        if all of them have one, otherwise from `default_minutes` ago; from `since_minutes` ago in any case, if given.
        """
        async with self._turn():
            now_ms = time.time_ns() // 1_000_000
            since_ms = _begin_ms(query, now_ms, since_minutes, default_minutes)
            # In the order in which events move, so that none is missed while it moves.
            trackers = await self._trackers.search(query.targets)
            events, dead = await asyncio.gather(
                search_events(self._settings, query.targets, since_ms=since_ms),
                search_dead_letters(self._settings, query.targets, since_ms=since_ms),
            )
            consumers = await self._consumers()
        results = []
        for at, target in enumerate(query.targets):
            verdict, stages = judge(Evidence(trackers, events[at], dead[at], consumers), at)
            self._metrics.searches.labels(verdict.stage).inc()
            wanted = {"id": target.id, "type": target.type, "params": target.params}
            results.append({"target": wanted, **as_json(verdict, stages)})
        return {"results": results, "notes": list(query.notes), "trackers": _ledgers(trackers)}

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            await asyncio.wait_for(self._running.acquire(), _WAIT_S)
        except TimeoutError:
            raise FinderBusy from None
        try:
            yield
        finally:
            self._running.release()

    async def _consumers(self) -> list[ConsumerPositions] | None:
        try:
            registered = [description.name for description in await self._counters.descriptions()]
            states = await self._counters.states(registered)
        except (CounterStoreError, OSError):
            return None
        return [
            ConsumerPositions(name, positions.offsets) for name, (positions, _) in zip(registered, states, strict=True)
        ]


def _begin_ms(query: FindQuery, now_ms: int, since_minutes: int | None, default_minutes: int) -> int:
    times = [time_of_id(target.id) for target in query.targets]
    known = [when_ms - _BEFORE_MS for when_ms in times if when_ms is not None and when_ms <= now_ms]
    begins = [] if since_minutes is None else [now_ms - since_minutes * _MINUTE_MS]
    if known and len(known) == len(times):
        begins.append(min(known))
    return max(0, min(begins, default=now_ms - default_minutes * _MINUTE_MS))


def _ledgers(trackers: Sequence[TrackerResult]) -> list[dict[str, Any]]:
    return [
        {
            "address": tracker.address,
            "pod": "" if tracker.report is None else tracker.report.pod,
            "error": tracker.error,
            "ledger": None if tracker.report is None else tracker.report.ledger,
        }
        for tracker in trackers
    ]
