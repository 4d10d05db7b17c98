"""The counters, as pages want them: each question is one round trip to Redis, two at most for a page."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.counters import PROGRESS_FIELDS, Description, Progress, parse_positions
from services.backbone.histogram import summary
from services.backbone.kafka import KafkaUnavailable
from services.kafidx.core.tables import PAGE_ROWS, Line, Table, TableQuery, charts, cut, page_of
from services.kafidx.store.ends import TopicEnds

CountersUnavailable = RedisError
"""Raised by every method when Redis does not answer in time or answers with an error."""

_WHOLE_FRESH_S: Final = 2.0
_SLICE_LABELS: Final = 10_000


@dataclass(frozen=True)
class Consumer:
    """One consumer as its card shows it; the names are those of the templates and of the JSON."""

    name: str
    description: str
    kind: str
    events: int
    invalid: int
    missed: int
    duplicates: int
    given_up: int
    last_event_ms: int
    """When the latest event that it has counted was received; 0: none yet."""
    lag: int | None
    """Events of the topic that it has not counted; None: Kafka does not respond, or a position is invalid."""
    stale: bool
    """There are events for it to count, and it has not moved for long."""


class Counters:
    """Reads what the statistics consumers write. `redis` must decode responses."""

    def __init__(self, redis: Redis, ends: TopicEnds, *, stale_s: float) -> None:
        self._redis = redis
        self._ends = ends
        self._stale_ms = stale_s * 1000
        self._moved: dict[str, tuple[int, float]] = {}  # name -> its sum, and when (ms) that sum was new
        self._whole: dict[str, tuple[float, dict[str, int]]] = {}
        self._fetching = asyncio.Lock()

    async def check(self) -> str:
        """Raise unless Redis answers."""
        await self._redis.ping()
        return ""

    async def consumers(self) -> list[Consumer]:
        """Return all that have registered, by name: two round trips however many there are."""
        return await self._states(await self._descriptions())

    async def consumer(self, name: str) -> tuple[Consumer, Description] | None:
        """Return one of them with what it says of itself; None when none of that name has registered."""
        descriptions = [description for description in await self._descriptions() if description.name == name]
        states = await self._states(descriptions)
        return (states[0], descriptions[0]) if descriptions else None

    async def table(self, description: Description, query: TableQuery) -> Table:
        """Return the wanted part of a counter: one round trip, or one for each slice when all labels are needed."""
        if description.kind == "histograms":
            return cut(summary(await self._counts(description.name)), query)
        if query.is_plain and query.page is not None:
            return await self._page(description.name, query, query.page)
        counts = await self._counts(description.name)
        # Up to some 100,000 labels: beside the loop, which has a live view to serve.
        return await asyncio.to_thread(cut, counts, query)

    async def charts(self, description: Description) -> list[dict[str, Any]]:
        """Return the histograms of a counter that holds some: one round trip."""
        return charts(await self._counts(description.name)) if description.kind == "histograms" else []

    async def _descriptions(self) -> list[Description]:
        stored = await self._redis.hgetall(names.COUNTER_DESCRIPTIONS)
        return [msgspec.json.decode(stored[name], type=Description) for name in sorted(stored)]

    async def _states(self, descriptions: list[Description]) -> list[Consumer]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for description in descriptions:
                pipeline.hgetall(names.positions_key(description.name))
                pipeline.hmget(names.progress_key(description.name), *PROGRESS_FIELDS)
            responses: list[Any] = await pipeline.execute() if descriptions else []
        try:
            ends = await self._ends.get() if descriptions else {}
        except KafkaUnavailable:
            ends = None
        now_ms = time.time() * 1000
        return [
            self._state(description, positions, Progress(*(int(n or 0) for n in progress)), ends, now_ms)
            for description, positions, progress in zip(descriptions, responses[::2], responses[1::2], strict=True)
        ]

    def _state(
        self,
        description: Description,
        positions: Mapping[str, str],
        progress: Progress,
        ends: Mapping[int, int] | None,
        now_ms: float,
    ) -> Consumer:
        offsets, invalid = parse_positions(positions)
        lag = None
        if ends is not None and not any(str(partition) in invalid for partition in ends):
            lag = sum(max(0, end - offsets.get(partition, 0)) for partition, end in ends.items())
        total = progress.passed
        # Before it was ever looked at, what it counted last says best when it moved.
        known, moved_ms = self._moved.get(description.name, (total, float(progress.last_received_ms)))
        if known != total:
            moved_ms = now_ms
        self._moved[description.name] = (total, moved_ms)
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

    async def _page(self, counter: str, query: TableQuery, wanted: int) -> Table:
        """Let Redis cut a page: it keeps the counts in order. A page after the last one costs a second look."""
        key, desc = names.counts_key(counter), query.order == "desc"
        while True:
            first = (wanted - 1) * PAGE_ROWS
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zcard(key)
                pipeline.zrange(key, 0, 0, desc=True, withscores=True)
                pipeline.zrange(key, first, first + PAGE_ROWS - 1, desc=desc, withscores=True)
                total, highest, rows = await pipeline.execute()
            page, pages, _ = page_of(wanted, total)
            if page == wanted:
                lines = [Line(label, int(count)) for label, count in rows]
                return Table(lines, total, page, pages, int(highest[0][1]) if highest else 0)
            wanted = page

    async def _counts(self, counter: str) -> dict[str, int]:
        """Return all labels of a counter, at most two seconds old."""
        async with self._fetching:
            fetched_s, counts = self._whole.get(counter, (float("-inf"), {}))
            if time.monotonic() - fetched_s < _WHOLE_FRESH_S:
                return counts
            counts = await self._fetch(counter)
            # One counter at a time: a large one is some ten megabytes.
            self._whole = {counter: (time.monotonic(), counts)}
            return counts

    async def _fetch(self, counter: str) -> dict[str, int]:
        """Read all labels in slices, each with its count at that moment.

        ZSCAN returns every label that is there during the whole scan, and labels of a counter are never removed. One
        response with 200,000 labels blocked the loop for 150 ms, and a slice of 10,000 blocks it for under 20.
        """
        counts: dict[str, int] = {}
        cursor = -1
        while cursor:
            pairs: Any
            cursor, pairs = await self._redis.zscan(names.counts_key(counter), max(cursor, 0), count=_SLICE_LABELS)
            counts.update((label, int(count)) for label, count in pairs)
        return counts
