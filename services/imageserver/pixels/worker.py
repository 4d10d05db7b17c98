"""WorkerProcess: a process that does one call at a time. It is replaced when it dies or exceeds its time.

Each worker is a pool of pebble with one process. A pool with several processes ends as a whole when one of them dies
while all are idle, and its processes share a lock that a dying one can keep.
"""

import asyncio
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Final, ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool

from services.imageserver.pixels.picture import limit_process

_P = ParamSpec("_P")
_T = TypeVar("_T")
_TAKE_S: Final = 5.0
"""For the start of a process that was replaced, until it takes the call. pebble counts the time limit from there."""


class WorkerDied(Exception):
    """The process of a worker ended before the call, or in it."""


class WorkerProcess:
    """A process with a memory limit."""

    def __init__(self, memory_mb: int, context: ForkServerContext) -> None:
        self._memory_mb = memory_mb
        self._context = context
        self._pool = self._create()

    def _create(self) -> ProcessPool:
        return ProcessPool(max_workers=1, initializer=limit_process, initargs=(self._memory_mb,), context=self._context)

    async def call(self, function: Callable[_P, _T], *args: _P.args, timeout_s: float) -> _T:  # type: ignore[valid-type]
        """Return the result of a call in the process. Raises what the call raises, or WorkerDied.

        After the time limit the process is killed, and TimeoutError is raised.
        """
        try:
            async with asyncio.timeout(timeout_s + _TAKE_S) as waiting:
                return await asyncio.wrap_future(self._pool.schedule(function, args=args, timeout=timeout_s))
        except ProcessExpired as error:
            raise WorkerDied(f"exit code {error.exitcode}") from error
        except TimeoutError:
            if waiting.expired():
                await self._replace()
            raise
        except RuntimeError as error:
            if self._is_running():
                raise
            await self._replace()
            raise WorkerDied("it was idle") from error

    async def repair(self) -> None:
        """Start the process again if it died while it was idle. Raises WorkerDied if it cannot start."""
        if not self._is_running():
            await self._replace()
        if not self._is_running():
            raise WorkerDied("it cannot start again")

    async def aclose(self) -> None:
        await asyncio.to_thread(_stop, self._pool)

    def _is_running(self) -> bool:
        """Return whether pebble has a process. It starts a new one here."""
        try:
            return bool(self._pool.active)
        except RuntimeError:
            return False

    async def _replace(self) -> None:
        broken, self._pool = self._pool, self._create()
        await asyncio.to_thread(_stop, broken)


def _stop(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
