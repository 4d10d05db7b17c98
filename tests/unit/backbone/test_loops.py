import asyncio

import pytest

from services.backbone.loops import running_loops


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

    loops = {"one": loop}
    async with asyncio.timeout(5), running_loops(loops, asyncio.Event(), before_cancel=stopping.set):
        await asyncio.sleep(0.02)
    assert swallowed == 1


async def test_failing_loop_stops_the_process_with_its_error() -> None:
    stop = asyncio.Event()

    async def fail() -> None:
        raise LookupError("the loop has failed")

    async with asyncio.timeout(5):
        with pytest.raises(LookupError, match="the loop has failed"):
            async with running_loops({"one": fail}, stop, before_cancel=lambda: None):
                await stop.wait()
