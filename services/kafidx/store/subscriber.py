"""One subscriber of a live view: filters events, queues their rows, and makes the frames for its socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from services.kafidx.core.events import LiveEvent
from services.kafidx.core.filters import Filter
from services.kafidx.core.live import RowQueue
from services.kafidx.metrics import Metrics

STATS_EVERY_S: Final = 1.0
_FRAME_ROWS: Final = 500
_FRAME_BYTES: Final = 262_144
"""A frame is sent as a whole, so a subscriber that reads nothing takes this memory in addition to its queue."""

_encode = msgspec.json.encode


class Subscriber:
    """The live view of one socket. One task offers events to it, and another task sends its frames."""

    def __init__(self, event_filter: Filter, queue: RowQueue, metrics: Metrics) -> None:
        self._filter = event_filter
        self._metrics = metrics
        self.queue = queue
        self.next: dict[int, int] = {}
        """The offset after the last one that was offered, by partition."""
        self.seen = 0
        self.missed = 0
        """The number of offsets that the topic no longer held when this subscriber was to read them."""
        self.kafka_away = False
        """Whether Kafka does not respond to the reader of this subscriber."""
        self.catching_up: asyncio.Task[None] | None = None
        self.ends: Callable[[], Mapping[int, int]] = dict
        """Return the end offsets that the reader of this subscriber has seen."""
        self.types: Callable[[], Mapping[str, int]] = dict
        """Return the most frequent types of the topic."""
        self._caught_up_at: int | None = None
        self._failed = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    def offer(self, events: Sequence[LiveEvent], positions: Mapping[int, int]) -> None:
        """Queue the matching events, which are in order and end at `positions`. Events offered before are ignored."""
        new = self._new(events)
        self.seen += len(new)
        if not self._filter.matches_everything:
            matches = self._filter.matches
            new = [event for event in new if matches(event)]
        if new:
            rows = [event.queued_row for event in new]
            dropped = self.queue.put(rows, sum(len(row.row) for row in rows))
            if dropped:
                self._metrics.dropped.inc(dropped)
            self._wake.set()
        for partition, position in positions.items():
            self.next[partition] = max(position, self.next.get(partition, 0))

    def skip_to(self, partition: int, position: int) -> None:
        """Continue at another position, since the topic does not hold the current one. Count the offsets between."""
        self.missed += max(0, position - self.next.get(partition, 0))
        self.next[partition] = position

    def caught_up(self) -> None:
        """Send a `caught_up` frame after the rows that are queued now: they are the last ones of the past."""
        self._caught_up_at = self.queue.matched
        self._wake.set()

    def resume_positions(self) -> dict[int, int]:
        """Return the offsets for a resume: from them on no row was sent or dropped."""
        return {**self.next, **self.queue.first_offsets()}

    def fail(self) -> None:
        """End the frames, since the reader of this subscriber has failed. The socket then closes with code 1011."""
        self._failed = True
        self._wake.set()

    async def wait_for_room(self) -> None:
        """Wait until a reader of the past may offer more events."""
        while not self.queue.has_room():
            self._room.clear()
            await self._room.wait()

    async def frames(self) -> AsyncIterator[str]:
        """Yield the frames to send: rows as they arrive, and the stats every second.

        Ends only after `fail()`. A new subscriber can continue at `resume_positions`.
        """
        stats_due_s = time.monotonic() + STATS_EVERY_S
        seen_before, counted_at_s = self.seen, time.monotonic()
        while not self._failed:
            self._wake.clear()
            if self.queue.queued and time.monotonic() < stats_due_s:
                yield self._rows()
            if self._caught_up_at is not None and self.queue.sent + self.queue.dropped >= self._caught_up_at:
                self._caught_up_at = None
                yield '{"kind":"caught_up"}'
            now_s = time.monotonic()
            if now_s >= stats_due_s:
                rate = (self.seen - seen_before) / max(now_s - counted_at_s, 0.001)
                seen_before, counted_at_s = self.seen, now_s
                stats_due_s = now_s + STATS_EVERY_S
                yield self._stats(round(rate, 1))
            if not self.queue.queued:
                try:
                    async with asyncio.timeout(max(0.0, stats_due_s - time.monotonic())):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    def _new(self, events: Sequence[LiveEvent]) -> Sequence[LiveEvent]:
        first: dict[int, int] = {}
        for event in events:
            first.setdefault(event.partition, event.offset)
        if all(self.next.get(partition, 0) <= offset for partition, offset in first.items()):
            return events
        return [event for event in events if event.offset >= self.next.get(event.partition, 0)]

    def _rows(self) -> str:
        taken = self.queue.take(max_rows=_FRAME_ROWS, max_bytes=_FRAME_BYTES)
        self._metrics.sent.inc(len(taken))
        if self.queue.has_room():
            self._room.set()
        return '{"kind":"rows","rows":[' + b",".join([queued.row for queued in taken]).decode() + "]}"

    def _stats(self, rate: float) -> str:
        queue, ends = self.queue, self.ends()
        frame: dict[str, Any] = {
            "kind": "stats",
            "seen": self.seen,
            "matched": queue.matched,
            "sent": queue.sent,
            "dropped": queue.dropped,
            "queued": queue.queued,
            "missed": self.missed,
            "away": self.kafka_away,
            "lag": {str(p): max(0, ends.get(p, at) - at) for p, at in sorted(self.next.items())},
            "rate": rate,
            "types": self.types(),
            "positions": {str(p): at for p, at in sorted(self.resume_positions().items())},
        }
        return _encode(frame).decode()
