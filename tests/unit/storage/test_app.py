import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.storage.app import Loops, _running


def loops_of(loop: Callable[[], Awaitable[None]], stop: Callable[[], None]) -> Loops:
    async def refresh_metrics() -> None:
        pass

    async def match_now(_kind: object, _object_id: str) -> None:
        pass

    return Loops(
        run={"one": loop},
        stop=stop,
        checks={},
        refresh_metrics=refresh_metrics,
        match_now=match_now,
        on_change=lambda: None,
    )


async def test_loops_end_when_a_cancellation_is_swallowed() -> None:
    stopping = asyncio.Event()
    swallowed = 0

    async def loop() -> None:
        nonlocal swallowed
        while not stopping.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                swallowed += 1

    async with asyncio.timeout(5), _running(loops_of(loop, stopping.set), asyncio.Event()):
        await asyncio.sleep(0.02)
    assert swallowed == 1


async def test_failing_loop_stops_the_process_with_its_error() -> None:
    stop = asyncio.Event()

    async def fail() -> None:
        raise LookupError("the loop has failed")

    async with asyncio.timeout(5):
        with pytest.raises(LookupError, match="the loop has failed"):
            async with _running(loops_of(fail, lambda: None), stop):
                await stop.wait()
