import asyncio
from typing import Any, Self

import pytest

from services.backbone.kafka import KafkaUnavailable
from services.kafidx.store import ends as ends_module
from services.kafidx.store.ends import TopicEnds


class Offsets:
    """A topic whose broker fails as often as it is told to."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def ends(self) -> dict[int, int]:
        self.asked += 1
        if self.asked <= self.failures:
            raise KafkaUnavailable("gone")
        return {0: 7}


async def test_a_failure_is_told_to_all_who_ask_and_kafka_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = Offsets(failures=1)
    monkeypatch.setattr(ends_module, "TopicOffsets", lambda *_: offsets)
    ends = TopicEnds("nowhere", "events")
    responses: list[Any] = await asyncio.gather(*(ends.get() for _ in range(5)), return_exceptions=True)
    assert [str(response) for response in responses] == ["gone"] * 5
    assert offsets.asked == 1
    monkeypatch.setattr(ends_module, "_FRESH_S", 0.0)
    assert await ends.get() == {0: 7}
    monkeypatch.setattr(ends_module, "_FRESH_S", 60.0)
    assert await ends.get() == {0: 7}
    assert offsets.asked == 2
    await ends.aclose()
