"""How much comes, and of what type: over the last seconds."""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Final

WINDOW_S: Final = 10
TOP: Final = 8


class Activity:
    """Counts types by the second, for the last ten."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, Counter[str]]] = deque()

    def count(self, types: Iterable[str], *, now_s: float) -> None:
        """Count events that came now."""
        second = int(now_s)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Counter()))
            self._discard(second)
        self._seconds[-1][1].update(types)

    def top(self, *, now_s: float) -> dict[str, int]:
        """Return the most frequent types of the last ten seconds, the most frequent first."""
        self._discard(int(now_s))
        total: Counter[str] = Counter()
        for _, counter in self._seconds:
            total.update(counter)
        return dict(total.most_common(TOP))

    def _discard(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - WINDOW_S:
            self._seconds.popleft()
