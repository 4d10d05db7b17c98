"""What is remembered of viewing sessions: a name and where it stopped. In memory, bounded, gone with the process."""

from collections import OrderedDict
from collections.abc import Mapping


class Sessions:
    """The latest sessions by name. A name is no more than that: no consumer group, nothing in Kafka or Redis."""

    def __init__(self, *, limit: int = 1000) -> None:
        self._limit = limit
        self._positions: OrderedDict[tuple[str, str], dict[int, int]] = OrderedDict()

    def remember(self, session: str, topic: str, positions: Mapping[int, int]) -> None:
        """Keep the next wanted offsets of a session in a topic; the one that was used longest ago may go for it."""
        self._positions[session, topic] = dict(positions)
        self._positions.move_to_end((session, topic))
        while len(self._positions) > self._limit:
            self._positions.popitem(last=False)

    def recall(self, session: str, topic: str) -> dict[int, int] | None:
        """Return where a session stopped; None when it is new, or forgotten."""
        return self._positions.get((session, topic))

    def discard(self, session: str, topic: str) -> None:
        """Let a session start over."""
        self._positions.pop((session, topic), None)
