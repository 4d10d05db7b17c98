"""What waits for one watcher: a bounded queue that drops its oldest rows, and the books of it."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple


class Waiting(NamedTuple):
    """One row on its way to a watcher."""

    partition: int
    offset: int
    row: bytes


class RowQueue:
    """Rows in order, at most so many and so many bytes. At every instant matched = sent + dropped + queued."""

    def __init__(self, *, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._rows: deque[Waiting] = deque()
        self.bytes = 0
        self.matched = 0
        self.sent = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def queued(self) -> int:
        """Rows that wait."""
        return len(self._rows)

    def has_room(self) -> bool:
        """Whether a reader of the past may go on: it waits, rather than to have rows dropped."""
        return len(self._rows) < self._max_rows // 2 and self.bytes < self._max_bytes // 2

    def takes(self, rows: int, size: int) -> bool:
        """Whether so many rows of so many bytes fit without dropping one."""
        return len(self._rows) + rows <= self._max_rows and self.bytes + size <= self._max_bytes

    def put(self, rows: Sequence[Waiting], size: int) -> int:
        """Add rows that matched, `size` bytes in all; what no longer fits goes, the oldest first. Returns how many."""
        before = self.dropped
        self._rows.extend(rows)
        self.matched += len(rows)
        self.bytes += size
        while len(self._rows) > self._max_rows or self.bytes > self._max_bytes:
            self.bytes -= len(self._rows.popleft().row)
            self.dropped += 1
        return self.dropped - before

    def take(self, *, max_rows: int, max_bytes: int) -> list[Waiting]:
        """Take the oldest rows for one frame, and count them as sent."""
        taken: list[Waiting] = []
        size = 0
        while self._rows and len(taken) < max_rows and (size + len(self._rows[0].row) <= max_bytes or not taken):
            size += len(self._rows[0].row)
            taken.append(self._rows.popleft())
        self.bytes -= size
        self.sent += len(taken)
        return taken

    def first_offsets(self) -> dict[int, int]:
        """Return the offset of the oldest waiting row of each partition that has one."""
        first: dict[int, int] = {}
        for partition, offset, _ in self._rows:
            first.setdefault(partition, offset)
        return first
