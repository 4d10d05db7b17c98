"""PendingEvents: a bounded queue of the events that wait for the push in flight."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

# One push is one transaction, which blocks other clients of Redis for about 10 ms.
_MAX_PUSH_EVENTS: Final = 10_000
_MAX_PUSH_BYTES: Final = 8_388_608


class NotStored(Exception):
    """The events are not confirmed, but may be stored. The client should send them again with the same ids."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """overloaded, stopping, redis, spool_full or spool_failed; also the label of the metric for refused events."""


OnStored = Callable[[NotStored | None], None]
"""Called once with the result for some entries: None when they are stored. Must not raise."""


class Pending(NamedTuple):
    """The entries of one request."""

    entries: Sequence[bytes]
    size: int
    on_stored: OnStored


class PendingEvents:
    """A queue of requests, bounded by the number and the bytes of their entries."""

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._queue: deque[Pending] = deque()
        self._bytes = 0
        self.events = 0
        """The number of entries in the queue."""

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, entries: Sequence[bytes], on_stored: OnStored) -> bool:
        """Append the entries of one request. Return False when they are over a bound.

        An empty queue accepts a request of any size. Otherwise a large batch could never be stored.
        """
        size = sum(map(len, entries))
        if self._queue and (self.events + len(entries) > self._max_events or self._bytes + size > self._max_bytes):
            return False
        self._queue.append(Pending(entries, size, on_stored))
        self.events += len(entries)
        self._bytes += size
        return True

    def next_group(self) -> list[Pending]:
        """Take the entries of at least one request, up to the maximum size of a push."""
        group: list[Pending] = []
        events = size = 0
        while self._queue:
            pending = self._queue[0]
            events += len(pending.entries)
            size += pending.size
            if group and (events > _MAX_PUSH_EVENTS or size > _MAX_PUSH_BYTES):
                break
            group.append(self._queue.popleft())
            self.events -= len(pending.entries)
            self._bytes -= pending.size
        return group
