"""Loops: the endless tasks of a process beside its ports."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from services.backbone.logs import get_logger

log = get_logger(__name__)


@contextlib.asynccontextmanager
async def running_loops(
    loops: Mapping[str, Callable[[], Awaitable[None]]], stop: asyncio.Event, *, before_cancel: Callable[[], None]
) -> AsyncIterator[None]:
    """Run loops, by name, while the block runs; then call `before_cancel` and cancel them.

    A loop that fails sets `stop`, and its error is raised after the block, so that the process is restarted.
    `before_cancel` sets flags that end loops, because the MongoDB client can swallow a cancellation.
    """

    async def guarded(name: str, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except Exception:
            log.exception("loop_failed", loop=name)
            stop.set()
            raise

    tasks = [asyncio.create_task(guarded(name, loop)) for name, loop in loops.items()]
    try:
        yield
    finally:
        before_cancel()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()  # raises the error of the loop
