"""The commit rule of the action consumers: an offset is committed when all events before it are finished. Pure."""

from collections.abc import Iterable


class LowWaterMark:
    """The unfinished offsets of one partition.

    An event is finished when it was acted on, lies in the dead list, or needs no action. Kafka keeps the events from
    the mark on, so a new owner of the partition acts on every unfinished event again.
    """

    def __init__(self, position: int) -> None:
        self._next = position
        self._unfinished: dict[int, None] = {}  # in ascending order, because offsets are taken in this order

    def take(self, next_offset: int, unfinished: Iterable[int]) -> None:
        """Take the records up to `next_offset`. `unfinished` are the offsets of those that need an action, ascending.

        Raises ValueError if an offset is not between the records taken before and `next_offset`.
        """
        for offset in unfinished:
            if not self._next <= offset < next_offset:
                raise ValueError(f"offset {offset} is not between {self._next} and {next_offset}")
            self._unfinished[offset] = None
            self._next = offset + 1
        self._next = next_offset

    def finish(self, offset: int) -> None:
        """Record that an event is finished. An offset that is finished already, or was never taken, has no effect."""
        self._unfinished.pop(offset, None)

    @property
    def mark(self) -> int:
        """The offset to commit: the lowest unfinished one, else the next offset to take."""
        return next(iter(self._unfinished), self._next)

    @property
    def unfinished(self) -> int:
        """The number of unfinished events."""
        return len(self._unfinished)
