import asyncio
import contextlib
import time

import pytest

from services.backbone.kafka import KafkaUnavailable, reader


async def test_call_that_ignores_cancellation_is_not_awaited() -> None:
    back = asyncio.Event()

    async def deaf() -> int:
        """Ignore cancellation, as the client does while it looks for a lost broker."""
        while not back.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await back.wait()
        return 7

    begun_s = time.monotonic()
    with pytest.raises(KafkaUnavailable, match="no response within"):
        await reader._responded(deaf(), limit_s=0.05)
    assert time.monotonic() - begun_s < 5
    back.set()


async def test_result_and_error_are_returned() -> None:
    async def response() -> int:
        return 7

    async def fail() -> int:
        raise ConnectionResetError("gone")

    assert await reader._responded(response()) == 7
    with pytest.raises(KafkaUnavailable, match="gone"):
        await reader._responded(fail())


async def test_cancellation_by_the_client_raises_kafka_unavailable() -> None:
    async def given_up() -> int:
        raise asyncio.CancelledError

    with pytest.raises(KafkaUnavailable, match="cancelled the request"):
        await reader._responded(given_up())
