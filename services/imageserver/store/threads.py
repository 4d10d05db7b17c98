"""VolumeThreads: calls of the file system in threads of their own, with a time limit.

A call to a network file system that hangs cannot be interrupted. Its thread waits on; the caller gets an error in time,
and the number of threads and of waiting calls is bounded. So no other work of the process waits for the volume.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, ParamSpec, TypeVar

from services.imageserver.core.refusals import ImageRefused, RefusalReason

_P = ParamSpec("_P")
_T = TypeVar("_T")
_WAITING_PER_THREAD: Final = 16


class VolumeThreads:
    """Runs calls, at most 16 waiting ones for each thread."""

    def __init__(self, *, threads: int, timeout_s: float, name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads * (1 + _WAITING_PER_THREAD)
        self._timeout_s = timeout_s
        self._unfinished = 0
        self._lock = threading.Lock()

    async def run(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return the result of a call. Raises what it raises, or ImageRefused (VOLUME_AWAY) after the time limit.

        A call whose time is up has an effect nevertheless, unless it had to wait for a thread until then.
        """
        if self._unfinished >= self._most:
            raise ImageRefused(RefusalReason.VOLUME_AWAY)
        with self._lock:
            self._unfinished += 1
        future = self._executor.submit(call, *args, **kwargs)
        future.add_done_callback(self._on_finished)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._timeout_s)
        except TimeoutError:
            raise ImageRefused(RefusalReason.VOLUME_AWAY) from None

    def _on_finished(self, _: Future[Any]) -> None:
        with self._lock:
            self._unfinished -= 1

    def close(self) -> None:
        """Accept no more calls. Calls that hang are not waited for."""
        self._executor.shutdown(wait=False, cancel_futures=True)
