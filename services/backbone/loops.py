"""Loops: the endless tasks of a process beside its ports."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from services.backbone.logs import get_logger

log = get_logger(__name__)


@contextlib.asynccontextmanager
async def running_loops(loops: Mapping[str, Callable[[], Awaitable[None]]]) -> AsyncIterator[None]:
    """Run loops, by name, while the block runs; then cancel them.

    A loop that fails is logged, and readiness fails by its heartbeat.
    """

    async def guarded(name: str, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except Exception:
            log.exception("loop_failed", loop=name)
            raise

    tasks = [asyncio.create_task(guarded(name, loop)) for name, loop in loops.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
