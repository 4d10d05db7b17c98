"""End offsets of a topic. It sends at most one request per second to Kafka for any number of open pages."""

import asyncio
import contextlib
import time
from typing import Final

from services.backbone.kafka import KafkaUnavailable, TopicOffsets

_FRESH_S: Final = 1.0
_LIMIT_S: Final = 3.0


class TopicEnds:
    """The end offsets of one topic. Connects at the first call of `get`, and again after a failure."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._offsets: TopicOffsets | None = None
        self._ends: dict[int, int] = {}
        self._fetched_at_s = float("-inf")
        self._failure: str | None = None
        self._fetching = asyncio.Lock()

    async def get(self) -> dict[int, int]:
        """Return the offset after the last record of each partition. It is at most one second old.

        Raises KafkaUnavailable. A call within one second of a failure raises the same error at once.
        """
        async with self._fetching:
            if time.monotonic() - self._fetched_at_s < _FRESH_S:
                if self._failure is not None:
                    raise KafkaUnavailable(self._failure)
                return self._ends
            try:
                async with asyncio.timeout(_LIMIT_S):
                    if self._offsets is None:
                        self._offsets = await TopicOffsets(self._bootstrap_servers, self._topic).__aenter__()
                    self._ends = await self._offsets.ends()
            except TimeoutError as error:
                self._failure = f"no response within {_LIMIT_S} s"
                raise KafkaUnavailable(self._failure) from error
            except KafkaUnavailable as error:
                self._failure = str(error)
                raise
            else:
                self._failure = None
            finally:
                self._fetched_at_s = time.monotonic()
            return self._ends

    async def aclose(self) -> None:
        offsets, self._offsets = self._offsets, None
        if offsets is not None:
            with contextlib.suppress(KafkaUnavailable):
                await offsets.__aexit__()
