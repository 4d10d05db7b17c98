"""VolumeThreads: calls of the file system in threads of their own, with a time limit.

A call to a network file system that hangs cannot be interrupted. Its thread waits on; the caller gets an error in time,
and the number of threads and of waiting calls is bounded. So no other work of the process waits for the volume.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Final, ParamSpec, TypeVar

from services.imageserver.core.refusals import ImageRefused, RefusalReason

_P = ParamSpec("_P")
_T = TypeVar("_T")
_WAITING_PER_THREAD: Final = 16


class VolumeThreads:
    """Runs calls, at most 16 waiting ones for each thread."""

    def __init__(self, *, threads: int, timeout_s: float, name: str) -> None:
        self._timeout_s = timeout_s
        self._idle = asyncio.Semaphore(threads)
        self._most_waiting = threads * _WAITING_PER_THREAD
        self._waiting = 0
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        """At most one for each thread, so that none stays here while all threads hang."""
        # Daemons: the interpreter waits at its end for the threads of ThreadPoolExecutor, also for those that hang.
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return the result of a call. Raises what it raises, or ImageRefused (VOLUME_AWAY) after the time limit.

        A call whose time is up has an effect nevertheless, unless it had to wait for a thread until then.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._take_thread()
                return await asyncio.wrap_future(self._start(lambda: call(*args, **kwargs)))
        except TimeoutError:
            raise ImageRefused(RefusalReason.VOLUME_AWAY) from None

    async def _take_thread(self) -> None:
        if self._idle.locked() and self._waiting >= self._most_waiting:
            raise ImageRefused(RefusalReason.VOLUME_AWAY)
        self._waiting += 1
        try:
            await self._idle.acquire()
        finally:
            self._waiting -= 1

    def _start(self, call: Callable[[], _T]) -> Future[_T]:
        """Run a call in the thread that was taken. The thread is idle again when the call ends."""
        future: Future[_T] = Future()
        loop = asyncio.get_running_loop()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - the caller gets it
                    future.set_exception(error)
            with contextlib.suppress(RuntimeError):  # the loop was closed while the call was hanging
                loop.call_soon_threadsafe(self._idle.release)

        self._calls.put(run)
        return future

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def close(self) -> None:
        """Accept no more calls. Calls that hang are not waited for, and do not keep the process."""
        for _ in self._threads:
            self._calls.put(None)
