import asyncio
from typing import Any, Self

import pytest

from services.backbone.kafka import KafkaUnavailable
from services.kafidx.store import ends as ends_module
from services.kafidx.store.ends import TopicEnds


class Offsets:
    """A topic whose broker fails `failures` times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.requests = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def ends(self) -> dict[int, int]:
        self.requests += 1
        if self.requests <= self.failures:
            raise KafkaUnavailable("gone")
        return {0: 7}


async def test_failure_is_raised_by_all_concurrent_calls_after_one_request_to_kafka(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offsets = Offsets(failures=1)
    monkeypatch.setattr(ends_module, "TopicOffsets", lambda *_: offsets)
    ends = TopicEnds("nowhere", "events")
    responses: list[Any] = await asyncio.gather(*(ends.get() for _ in range(5)), return_exceptions=True)
    assert [str(response) for response in responses] == ["gone"] * 5
    assert offsets.requests == 1
    monkeypatch.setattr(ends_module, "_FRESH_S", 0.0)
    assert await ends.get() == {0: 7}
    monkeypatch.setattr(ends_module, "_FRESH_S", 60.0)
    assert await ends.get() == {0: 7}
    assert offsets.requests == 2
    await ends.aclose()
