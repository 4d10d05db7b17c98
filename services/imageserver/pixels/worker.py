"""WorkerProcess: a process that does one call at a time. It is replaced when it dies or exceeds its time.

Each worker is a pool of pebble with one process. A pool with several processes ends as a whole when one of them dies
while all are idle, and its processes share a lock that a dying one can keep.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing.context import ForkServerContext
from typing import Final, ParamSpec, TypeVar

from pebble import CONSTS, ProcessExpired, ProcessPool

from services.imageserver.pixels.picture import limit_process

_P = ParamSpec("_P")
_T = TypeVar("_T")
_START_TIMEOUT_S: Final = 60.0
_LOST_S: Final = 0.5
_TAKE_S: Final = 5.0
"""Until a process takes a call. pebble counts the time limit from there."""

CONSTS.term_timeout = 0.2  # from SIGTERM to SIGKILL. The default of 3 s would delay the refusal of a picture.


class WorkerDied(Exception):
    """The process of a worker ended before the call, or in it."""


class WorkerProcess:
    """A process with a memory limit."""

    def __init__(self, memory_mb: int, context: ForkServerContext) -> None:
        self._memory_mb = memory_mb
        self._context = context
        self._pool = self._create()
        self._started: asyncio.Future[int] | None = None
        self._ending: asyncio.Future[None] | None = None
        """The end of a process that was replaced."""

    def _create(self) -> ProcessPool:
        return ProcessPool(max_workers=1, initializer=limit_process, initargs=(self._memory_mb,), context=self._context)

    async def start(self) -> None:
        """Start the process, and wait until it can take calls. Raises WorkerDied if it cannot start."""
        try:
            if self._started is None:
                self._launch()
            assert self._started is not None  # noqa: S101 - for mypy
            # A caller that is cancelled does not end the start, which may take longer than its time limit.
            await asyncio.shield(self._started)
        except (RuntimeError, ProcessExpired, TimeoutError) as error:
            self._replace()
            raise WorkerDied(f"a worker cannot start: {error.__cause__ or error!r}") from error

    def _launch(self) -> None:
        self._started = asyncio.ensure_future(
            _result_of(self._pool, self._pool.schedule(os.getpid, timeout=_START_TIMEOUT_S))
        )

    async def call(self, function: Callable[_P, _T], *args: _P.args, timeout_s: float) -> _T:  # type: ignore[valid-type]
        """Return the result of a call in the process. Raises what the call raises, or WorkerDied.

        After the time limit the process is killed, and TimeoutError is raised. If the caller is cancelled, the process
        is killed too.
        """
        await self.start()
        try:
            async with asyncio.timeout(timeout_s + _TAKE_S) as waiting:
                return await _result_of(self._pool, self._pool.schedule(function, args=args, timeout=timeout_s))
        except ProcessExpired as error:
            raise WorkerDied(f"exit code {error.exitcode}") from error
        except TimeoutError:
            if waiting.expired():
                self._replace()
            raise
        except asyncio.CancelledError:  # pebble would kill only a process that has taken the call
            self._replace()
            raise
        except RuntimeError as error:
            if self._is_running():
                raise
            self._replace()
            raise WorkerDied("it was idle") from error

    def repair(self) -> None:
        """Start the process again if it died while it was idle. Raises WorkerDied if it cannot start."""
        if not self._is_running():
            self._replace()
        if not self._is_running():
            raise WorkerDied("it cannot start again")

    async def aclose(self) -> None:
        if self._ending is not None:
            await self._ending
        await asyncio.to_thread(_stop, self._pool)

    def _is_running(self) -> bool:
        """Return whether pebble has a process. It starts a new one here."""
        try:
            return bool(self._pool.active)
        except RuntimeError:
            return False

    def _replace(self) -> None:
        """Kill the process, and start a new one."""
        broken, self._pool, self._started = self._pool, self._create(), None
        with contextlib.suppress(RuntimeError):  # `start` tries again
            self._launch()
        self._ending = asyncio.get_running_loop().run_in_executor(None, _stop, broken)


async def _result_of(pool: ProcessPool, future: Future[_T]) -> _T:
    """Return the result of a call. Raises RuntimeError if the pool has ended.

    pebble never ends a call that begins in the moment in which it notices that its process has died.
    """
    result = asyncio.wrap_future(future)
    while not (await asyncio.wait({result}, timeout=_LOST_S))[0]:
        if not pool.active:
            raise RuntimeError("the pool has ended")
    return result.result()


def _stop(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()
