"""The state of the live views: queues of rows, recent events, rates by type, sessions and the number of open views.

All of it is in memory and bounded. It is lost when the process stops.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from heapq import merge
from typing import Final

from services.kafidx.core.events import LiveEvent, QueuedRow

WINDOW_S: Final = 10
TOP_TYPES: Final = 8
_EVENT_BYTES: Final = 600
"""Memory that an event takes in addition to its value while none of it is decoded."""


class RowQueue:
    """The rows that wait for one subscriber, bounded by number and by bytes. A full queue drops its oldest rows.

    matched = sent + dropped + queued at any time.
    """

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._rows: deque[QueuedRow] = deque()
        self.bytes = 0
        self.matched = 0
        self.sent = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def queued(self) -> int:
        """The number of rows in the queue."""
        return len(self._rows)

    def has_room(self) -> bool:
        """Return whether at least half of the queue is free. A reader of the past waits for it, so it drops no row."""
        return len(self._rows) < self._max_rows // 2 and self.bytes < self._max_bytes // 2

    def fits(self, rows: int, size: int) -> bool:
        """Return whether `rows` rows of `size` bytes in all fit without dropping one."""
        return len(self._rows) + rows <= self._max_rows and self.bytes + size <= self._max_bytes

    def put(self, rows: Sequence[QueuedRow], size: int) -> int:
        """Add matching rows of `size` bytes in all. Return how many of the oldest rows were dropped to make room."""
        before = self.dropped
        self._rows.extend(rows)
        self.matched += len(rows)
        self.bytes += size
        while len(self._rows) > self._max_rows or self.bytes > self._max_bytes:
            self.bytes -= len(self._rows.popleft().row)
            self.dropped += 1
        return self.dropped - before

    def take(self, *, max_rows: int, max_bytes: int) -> list[QueuedRow]:
        """Remove the oldest rows for one frame and count them as sent. One row is returned even above `max_bytes`."""
        taken: list[QueuedRow] = []
        size = 0
        while self._rows and len(taken) < max_rows and (size + len(self._rows[0].row) <= max_bytes or not taken):
            size += len(self._rows[0].row)
            taken.append(self._rows.popleft())
        self.bytes -= size
        self.sent += len(taken)
        return taken

    def first_offsets(self) -> dict[int, int]:
        """Return the offset of the oldest queued row of each partition that has one."""
        first: dict[int, int] = {}
        for partition, offset, _ in self._rows:
            first.setdefault(partition, offset)
        return first


class RecentEvents:
    """The latest events of a topic, without a gap. A subscriber that reconnects soon needs no reader of its own."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._events: deque[LiveEvent] = deque()
        self._bytes = 0
        self._beginnings: dict[int, int] = {}

    def restart(self, positions: Mapping[int, int]) -> None:
        """Remove all events. The next events that are added begin at `positions`."""
        self._events.clear()
        self._bytes = 0
        self._beginnings = dict(positions)

    def add(self, events: Sequence[LiveEvent]) -> None:
        """Add the next events and remove the oldest ones above the limit. Call it after all subscribers have them."""
        for event in events:
            event.drop_decoded()
        self._events.extend(events)
        self._bytes += sum(len(event.value) + _EVENT_BYTES for event in events)
        while self._events and self._bytes > self._max_bytes:
            removed = self._events.popleft()
            self._bytes -= len(removed.value) + _EVENT_BYTES
            self._beginnings[removed.partition] = removed.offset + 1

    def since(self, positions: Mapping[int, int]) -> list[LiveEvent] | None:
        """Return all events from `positions` on, in order, or None when some of them are not available here."""
        if any(positions.get(partition, 0) < begin for partition, begin in self._beginnings.items()):
            return None
        return [event for event in self._events if event.offset >= positions.get(event.partition, 0)]


def in_order(events: Sequence[Sequence[LiveEvent]]) -> list[LiveEvent]:
    """Merge partitions by the times of their records. The order within a partition does not change."""
    if len(events) == 1:
        return list(events[0])
    return list(merge(*events, key=lambda event: event.time_ms))


class Activity:
    """Counts events by type for each of the last ten seconds."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, Counter[str]]] = deque()

    def count(self, types: Iterable[str], *, now_s: float) -> None:
        """Count events that arrived at `now_s`."""
        second = int(now_s)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
            self._discard(second)
        self._seconds[-1][1].update(types)

    def top(self, *, now_s: float) -> dict[str, int]:
        """Return the eight most frequent types of the last ten seconds, the most frequent first."""
        self._discard(int(now_s))
        total: Counter[str] = Counter()
        for _, counter in self._seconds:
            total.update(counter)
        return dict(total.most_common(TOP_TYPES))

    def _discard(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - WINDOW_S:
            self._seconds.popleft()


class Sessions:
    """The positions of the latest viewing sessions, by name. A session is not a consumer group and is not stored."""

    def __init__(self, *, limit: int = 1000) -> None:
        self._limit = limit
        self._positions: OrderedDict[tuple[str, str], dict[int, int]] = OrderedDict()

    def remember(self, session: str, topic: str, positions: Mapping[int, int]) -> None:
        """Store the next offsets of a session in a topic. Above the limit, remove the least recently used session."""
        self._positions[session, topic] = dict(positions)
        self._positions.move_to_end((session, topic))
        while len(self._positions) > self._limit:
            self._positions.popitem(last=False)

    def recall(self, session: str, topic: str) -> dict[int, int] | None:
        """Return the next offsets of a session, or None when the session is unknown."""
        return self._positions.get((session, topic))

    def discard(self, session: str, topic: str) -> None:
        """Remove a session, if it is known."""
        self._positions.pop((session, topic), None)


class TooManyViews(Exception):
    """The number of open views has reached the limit."""


class OpenViews:
    """Limits the number of live views that are open at once, over all topics."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self.count = 0

    def enter(self) -> None:
        """Reserve a slot. Always pair with `leave()`. Raises TooManyViews."""
        if self.count >= self._limit:
            raise TooManyViews
        self.count += 1

    def leave(self) -> None:
        """Free a slot."""
        self.count -= 1
