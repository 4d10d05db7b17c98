"""CounterPositions: reads the positions of one counter from the counters' Redis."""

from collections.abc import Mapping

from services.backbone.counters import CounterStore
from services.backbone.redis import connect

_RESPONSE_LIMIT_S = 2.0


class CounterPositions:
    """The positions of one counter. All records before a position were counted: one script writes both."""

    def __init__(self, url: str, counter: str) -> None:
        self._redis = connect(url, timeout_s=_RESPONSE_LIMIT_S, resend=True, text="strict")
        self._store = CounterStore(self._redis)
        self._counter = counter

    async def get(self) -> Mapping[int, int]:
        """Return the next offset to count, by partition. Raises CounterStoreError or OSError."""
        return await self._store.positions(self._counter)

    async def check(self) -> str:
        """Raise unless Redis responds."""
        await self._redis.ping()
        return ""

    async def aclose(self) -> None:
        await self._redis.aclose()
