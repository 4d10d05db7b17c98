"""The counters for the pages: consumers with their lag, and counters as tables and charts."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis

from services.backbone.counters import CounterStore, Description, Positions, Progress
from services.backbone.histogram import summary
from services.backbone.kafka import KafkaUnavailable
from services.kafidx.core.tables import PAGE_ROWS, Line, Table, TableQuery, charts, cut, page_of
from services.kafidx.store.ends import TopicEnds

_WHOLE_FRESH_S: Final = 2.0
_SLICE_LABELS: Final = 10_000
"""One response with 200,000 labels blocked the event loop for 150 ms. A slice of 10,000 blocks it for under 20 ms."""


@dataclass(frozen=True)
class Consumer:
    """A statistics consumer on its card. The templates and the JSON use these names."""

    name: str
    description: str
    kind: str
    events: int
    invalid: int
    missed: int
    duplicates: int
    given_up: int
    last_event_ms: int
    """The time at which the latest counted event was received, or 0 before the first event."""
    lag: int | None
    """Events of the topic that are not counted yet. None: Kafka does not respond, or a position is invalid."""
    stale: bool
    """Whether there are events to count and the consumer has counted none of them for `stale_s` seconds."""


class Counters:
    """Reads the counters of the statistics consumers. Every method raises CounterStoreError when Redis fails."""

    def __init__(self, redis: Redis, ends: TopicEnds, *, stale_s: float) -> None:
        """`redis` must decode responses."""
        self._redis = redis
        self._store = CounterStore(redis)
        self._ends = ends
        self._stale_ms = stale_s * 1000
        self._moved: dict[str, tuple[int, float]] = {}  # name -> the offsets it has passed, and the ms of the change
        self._whole: dict[str, tuple[float, dict[str, int]]] = {}
        self._fetching = asyncio.Lock()

    async def check(self) -> str:
        """Raise when Redis does not respond."""
        await self._redis.ping()
        return ""

    async def consumers(self) -> list[Consumer]:
        """Return all registered consumers by name, in two round trips."""
        return await self._states(await self._store.descriptions())

    async def consumer(self, name: str) -> tuple[Consumer, Description] | None:
        """Return a consumer and its description, or None when no consumer of this name is registered."""
        descriptions = [each for each in await self._store.descriptions() if each.name == name]
        states = await self._states(descriptions)
        return (states[0], descriptions[0]) if descriptions else None

    async def table(self, description: Description, query: TableQuery) -> Table:
        """Return a part of a counter. It takes one round trip for a page by count, otherwise one for each slice."""
        if description.kind == "histograms":
            return cut(summary(await self._counts(description.name)), query)
        if query.is_plain and query.page is not None:
            return await self._page(description.name, query, query.page)
        counts = await self._counts(description.name)
        # In a thread, since a counter may have about 100,000 labels and the event loop also serves live views.
        return await asyncio.to_thread(cut, counts, query)

    async def charts(self, description: Description) -> list[dict[str, Any]]:
        """Return the histograms of a counter. The list is empty for a counter without histograms."""
        return charts(await self._counts(description.name)) if description.kind == "histograms" else []

    async def _states(self, descriptions: list[Description]) -> list[Consumer]:
        states = await self._store.states([description.name for description in descriptions])
        try:
            ends = await self._ends.get() if descriptions else {}
        except KafkaUnavailable:
            ends = None
        now_ms = time.time() * 1000
        return [
            self._state(description, positions, progress, ends, now_ms)
            for description, (positions, progress) in zip(descriptions, states, strict=True)
        ]

    def _state(
        self,
        description: Description,
        positions: Positions,
        progress: Progress,
        ends: Mapping[int, int] | None,
        now_ms: float,
    ) -> Consumer:
        lag = None
        if ends is not None and not any(str(partition) in positions.invalid for partition in ends):
            lag = sum(max(0, end - positions.offsets.get(partition, 0)) for partition, end in ends.items())
        passed = progress.passed
        # At the first read there is no earlier sum. Use the time of the latest counted event instead.
        known, moved_ms = self._moved.get(description.name, (passed, float(progress.last_received_ms)))
        if known != passed:
            moved_ms = now_ms
        self._moved[description.name] = (passed, moved_ms)
        return Consumer(
            name=description.name,
            description=description.description,
            kind="statistics",
            events=progress.events,
            invalid=progress.invalid,
            missed=progress.missed,
            duplicates=progress.duplicates,
            given_up=progress.given_up,
            last_event_ms=progress.last_received_ms,
            lag=lag,
            stale=bool(lag) and now_ms - moved_ms > self._stale_ms,
        )

    async def _page(self, counter: str, query: TableQuery, number: int) -> Table:
        """Return a page in the order of the counts, which Redis keeps. A page after the last costs a second request."""
        while True:
            first = (number - 1) * PAGE_ROWS
            ranked = await self._store.ranked_counts(
                counter, first=first, count=PAGE_ROWS, descending=query.order == "desc"
            )
            page, pages, _ = page_of(number, ranked.labels)
            if page == number:
                return Table([Line(*pair) for pair in ranked.counts], ranked.labels, page, pages, ranked.highest)
            number = page

    async def _counts(self, counter: str) -> dict[str, int]:
        """Return all labels of a counter. They are at most two seconds old."""
        async with self._fetching:
            fetched_s, counts = self._whole.get(counter, (float("-inf"), {}))
            if time.monotonic() - fetched_s < _WHOLE_FRESH_S:
                return counts
            counts = await self._store.scan_counts(counter, slice_labels=_SLICE_LABELS)
            # Only one counter is kept, since a large one takes some ten megabytes.
            self._whole = {counter: (time.monotonic(), counts)}
            return counts
