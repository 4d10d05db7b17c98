"""PicturePool: the worker processes, and the uploads that wait for them.

A worker that exceeds its time or dies costs its own upload only.
"""

import asyncio
import multiprocessing
import time
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from services.backbone.logs import get_logger
from services.imageserver.core.limits import PictureLimits
from services.imageserver.core.refusals import ImageRefused, RefusalReason
from services.imageserver.metrics import Metrics
from services.imageserver.pixels.picture import Picture, make_files
from services.imageserver.pixels.worker import WorkerDied, WorkerProcess

log = get_logger(__name__)

_ATTEMPTS: Final = 2
"""An upload whose worker dies is tried once more, since another process may have killed the worker."""


class WorkerFailed(Exception):
    """A worker could not encode a decoded picture."""


class PoolSize(NamedTuple):
    """The bounds of a pool."""

    workers: int
    queue: int
    """The number of uploads that wait while all workers have one."""
    queue_timeout_s: float
    work_timeout_s: float
    worker_mb: int


class PicturePool:
    """Makes the files of assets. An async context manager."""

    def __init__(self, size: PoolSize, limits: PictureLimits, metrics: Metrics) -> None:
        self._size = size
        self._limits = limits
        self._metrics = metrics
        # forkserver: a fork of this process would copy its threads' locks in any state.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([make_files.__module__])
        self._workers = tuple(WorkerProcess(size.worker_mb, context) for _ in range(size.workers))
        self._idle = list(self._workers)
        self._free = asyncio.Semaphore(size.workers)
        self._waiting = 0

    async def __aenter__(self) -> Self:
        """Wait until all workers have started. Raises the error of one that cannot."""
        await asyncio.gather(*(worker.start() for worker in self._workers))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(worker.aclose() for worker in self._workers))

    async def check(self) -> str:
        """Start idle workers again that have died. Return their number. Raises WorkerDied if one cannot start."""
        for worker in tuple(self._idle):
            worker.repair()
        return f"{len(self._idle)} of {self._size.workers} idle"

    def require_place(self) -> None:
        """Raise ImageRefused (QUEUE_FULL) if an upload could not even wait for a worker."""
        if self._free.locked() and self._waiting >= self._size.queue:
            raise ImageRefused(RefusalReason.QUEUE_FULL)

    async def make(self, source: Path, directory: Path) -> Picture:
        """Write the files of an upload to a directory. Raises ImageRefused; then the directory may have some files."""
        self.require_place()
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        try:
            await asyncio.wait_for(self._free.acquire(), self._size.queue_timeout_s)
        except TimeoutError:
            raise ImageRefused(RefusalReason.QUEUE_FULL) from None
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)
        worker = self._idle.pop()
        try:
            with self._metrics.working.track_inprogress():
                return await self._make(worker, source, directory)
        finally:
            self._idle.append(worker)
            self._free.release()

    async def _make(self, worker: WorkerProcess, source: Path, directory: Path) -> Picture:
        for attempt in range(1, _ATTEMPTS + 1):
            begun_s = time.monotonic()
            try:
                made = await worker.call(
                    make_files, str(source), str(directory), self._limits, timeout_s=self._size.work_timeout_s
                )
            except TimeoutError:
                self._metrics.kills.labels("time").inc()
                raise ImageRefused(RefusalReason.TOO_MUCH_WORK) from None
            except asyncio.CancelledError:  # the deadline of the upload, which kills the process
                self._metrics.kills.labels("time").inc()
                raise
            except WorkerDied as error:
                self._metrics.kills.labels("died").inc()
                log.warning("worker_died", reason=str(error), attempt=attempt)
                continue
            except OSError as error:
                if error.errno is None:  # of an encoder, such as a mode that it cannot write: a bug
                    raise WorkerFailed(str(error)) from error
                raise
            if isinstance(made, RefusalReason):
                raise ImageRefused(made)
            self._metrics.work_seconds.labels(made.format).observe(time.monotonic() - begun_s)
            return made
        raise ImageRefused(RefusalReason.TOO_MUCH_WORK)
