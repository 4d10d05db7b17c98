"""The latest events of the topic, kept so that who comes back soon goes on without asking Kafka."""

from collections import deque
from collections.abc import Mapping, Sequence
from heapq import merge

from services.kafidx.core.events import LiveEvent

_EVENT_BYTES = 600  # what an event takes beside its value, with nothing of it decoded


class Recent:
    """A bounded run of events, without a hole from `begins` on."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._events: deque[LiveEvent] = deque()
        self._bytes = 0
        self._begins: dict[int, int] = {}

    def restart(self, positions: Mapping[int, int]) -> None:
        """Forget everything; what is added next begins at `positions`."""
        self._events.clear()
        self._bytes = 0
        self._begins = dict(positions)

    def add(self, events: Sequence[LiveEvent]) -> None:
        """Add what came next and went to whoever watches; the oldest go."""
        for event in events:
            event.drop_decoded()
        self._events.extend(events)
        self._bytes += sum(len(event.value) + _EVENT_BYTES for event in events)
        while self._events and self._bytes > self._max_bytes:
            gone = self._events.popleft()
            self._bytes -= len(gone.value) + _EVENT_BYTES
            self._begins[gone.partition] = gone.offset + 1

    def since(self, positions: Mapping[int, int]) -> list[LiveEvent] | None:
        """Return all events from `positions` on, in order; None when some of them are not here (any more)."""
        if any(positions.get(partition, 0) < begin for partition, begin in self._begins.items()):
            return None
        return [event for event in self._events if event.offset >= positions.get(event.partition, 0)]


def in_order(events: Sequence[Sequence[LiveEvent]]) -> list[LiveEvent]:
    """Merge partitions by their records' times, without ever changing the order within one."""
    if len(events) == 1:
        return list(events[0])
    return list(merge(*events, key=lambda event: event.time_ms))
