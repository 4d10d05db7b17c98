import asyncio

from services.storage.app import Loops, _running


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

    async def refresh_metrics() -> None:
        pass

    async def match_now(_kind: object, _object_id: str) -> None:
        pass

    loops = Loops(
        run={"one": loop},
        stop=stopping.set,
        checks={},
        refresh_metrics=refresh_metrics,
        match_now=match_now,
        on_change=lambda: None,
    )
    async with asyncio.timeout(5), _running(loops):
        await asyncio.sleep(0.02)
    assert swallowed == 1
