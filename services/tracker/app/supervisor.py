"""The supervisor: keeps the worker processes running, and answers on the internal port for all of them."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry

from services.backbone.health import Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.metrics import TrackerWorkersMetrics
from services.backbone.process import EXIT_BAD_SETTINGS, hold_port, http_server
from services.tracker.app.channel import Asking, HungUp, Unanswered
from services.tracker.app.figures import Figures, GaugeValue, figures_directory
from services.tracker.app.place import Place
from services.tracker.app.worker import ALIVE, GAUGES, OPENAPI, READINESS, Readiness
from services.tracker.settings import Settings

log = get_logger(__name__)

# The pause before a worker is started again: doubled each time, and short again once one has lived for a while.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 10.0
_LIVED_S: Final = 30.0
# A worker asks Redis for up to two seconds before it says that it is not ready.
_READINESS_S: Final = 2.5
_ANSWER_S: Final = 1.0
_LOOK_EVERY_S: Final = 1.0
_STARTS_WITHIN_S: Final = 120.0
_HANGS_AFTER_S: Final = 30.0
# A worker leaves within ten seconds (see TRACKER_PUSH_TIMEOUT_S and what a stop waits for).
_STOP_LIMIT_S: Final = 15.0

_Content = TypeVar("_Content")


class WorkerUnfit(Exception):  # noqa: N818 - what is wrong, in two words
    """A worker can't run with these settings, nor could its successor; the message says why."""


class NotReady(Exception):  # noqa: N818 - what is wrong, in two words
    """A worker is not to be sent work; the message says why."""


class Worker:
    """One of the workers, over all the processes that it is one after the other."""

    def __init__(self, number: int, figures: Path, metrics: TrackerWorkersMetrics) -> None:
        self._number = number
        self._figures = figures
        self._metrics = metrics
        self._leaving = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Asking | None = None

    async def run(self) -> None:
        """Start it, and again whenever it ends, until `leave`. Raises WorkerUnfit. Cancelled, it kills the process."""
        pause_s = _FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while not self._leaving.is_set():
            begin = loop.time()
            code = await self._live()
            if self._leaving.is_set():
                self._tell_left(code)
                return
            if loop.time() - begin > _LIVED_S:
                pause_s = _FIRST_PAUSE_S
            log.error("worker_ended", ended=self._number, exit_code=code, starts_again_in_s=pause_s)
            self._metrics.restarts.inc()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _live(self) -> int:
        ours, theirs = socket.socketpair()
        channel = await Asking.open(ours)
        with theirs:
            place = Place(self._number, theirs.fileno(), self._figures)
            # A session of its own: what a terminal sends to all that run there, the supervisor passes on in order.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.tracker", *place.arguments()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._process, self._channel = process, channel
        if self._leaving.is_set():
            process.terminate()
        listening = asyncio.create_task(channel.listen())
        watching = asyncio.create_task(self._watch(process, channel))
        try:
            code = await process.wait()
            await listening  # its last words come before the end of the stream
        finally:
            watching.cancel()
            listening.cancel()
            self._process = None
            if process.returncode is None:
                process.kill()
        if code == EXIT_BAD_SETTINGS:
            raise WorkerUnfit(channel.last_words or f"worker {self._number} can't run with these settings")
        return code

    async def _watch(self, process: asyncio.subprocess.Process, channel: Asking) -> None:
        """Kill a worker that hangs: the kernel would give it its part of the connections for ever."""
        limit_s = _STARTS_WITHIN_S
        try:
            while True:
                await channel.ask(ALIVE, type(None), limit_s=limit_s)
                limit_s = _HANGS_AFTER_S
                await asyncio.sleep(_LOOK_EVERY_S)
        except HungUp:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _STOP_LIMIT_S)
                return
        except Unanswered:
            pass
        if not self._leaving.is_set():  # a stop has its own limit
            log.error("worker_hangs", killed=self._number)
            process.kill()

    def leave(self) -> None:
        """Ask it to stop in order, and start it no more."""
        self._leaving.set()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    def _tell_left(self, code: int) -> None:
        # One that was not yet ready for the signal has served nobody.
        if code not in (0, -signal.SIGTERM):
            raise RuntimeError(f"worker {self._number} stopped with exit code {code}")

    async def check(self) -> str:
        """Ask whether it is ready, and why; raises NotReady and Unanswered."""
        await self._ask(ALIVE, type(None), limit_s=_ANSWER_S)  # one that hangs is told before whoever asks gives up
        readiness = await self._ask(READINESS, Readiness, limit_s=_READINESS_S)
        if not readiness.ready:
            raise NotReady(readiness.detail)
        return readiness.detail

    async def gauges(self) -> list[GaugeValue] | None:
        """Ask for its gauges; None when it does not answer."""
        try:
            return await self._ask(GAUGES, list[GaugeValue], limit_s=_ANSWER_S)
        except Unanswered:
            return None

    async def openapi(self) -> dict[str, Any]:
        """Ask for the description of the public port. Raises Unanswered."""
        return await self._ask(OPENAPI, dict[str, Any], limit_s=_ANSWER_S)

    async def _ask(self, about: str, kind: type[_Content], *, limit_s: float) -> _Content:
        if self._channel is None:
            raise Unanswered("it has not begun")
        return await self._channel.ask(about, kind, limit_s=limit_s)


async def supervise(settings: Settings, stop: asyncio.Event) -> None:
    """Keep TRACKER_WORKERS workers running until `stop` is set; then let all of them leave, each in its own order.

    The port is made sure of first, so that one that is taken is told once; then the internal port opens, and then the
    workers start, all at once. Closing is the reverse: not ready from the first moment on.

    Raises WorkerUnfit and PortTaken.
    """
    registry = CollectorRegistry()
    metrics = TrackerWorkersMetrics(registry)
    with hold_port(settings.host, settings.port), figures_directory() as directory:
        workers = [Worker(number, directory, metrics) for number in range(1, settings.workers + 1)]
        figures = Figures(directory)
        registry.register(figures)
        health = Health(
            {f"worker {number}": worker.check for number, worker in enumerate(workers, 1)},
            check_timeout_s=_ANSWER_S + _READINESS_S + 0.5,
        )
        internal_app = create_internal_app(
            health,
            registry,
            describe=partial(_describe, workers),
            refresh_metrics=partial(_refresh, workers, figures, metrics),
        )
        async with (
            http_server(internal_app, host=settings.internal_host, port=settings.internal_port, drain_s=1.0),
            _running(workers) as running,
        ):
            log.info("supervising", workers=settings.workers, internal_port=settings.internal_port)
            stopped = asyncio.create_task(stop.wait())
            # A worker's task ends by itself only with an error, which the block's end raises.
            await asyncio.wait([stopped, *running], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            health.stopping = True


@contextlib.asynccontextmanager
async def _running(workers: Sequence[Worker]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run the workers while the block runs, then let them leave; whoever does not in time is killed."""
    running = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield running
        for worker in workers:
            worker.leave()
        _, late = await asyncio.wait(running, timeout=_STOP_LIMIT_S)
        if late:
            raise RuntimeError(f"{len(late)} workers did not stop within {_STOP_LIMIT_S:g} s")
    finally:
        for task in running:
            task.cancel()  # also when this process is told a second time to end: then at once
        await asyncio.wait(running)
    errors = [error for task in running if (error := task.exception()) is not None]
    if errors:
        raise next((error for error in errors if isinstance(error, WorkerUnfit)), errors[0])


async def _refresh(workers: Sequence[Worker], figures: Figures, metrics: TrackerWorkersMetrics) -> None:
    answers = await asyncio.gather(*(worker.gauges() for worker in workers))
    answered = [gauges for gauges in answers if gauges is not None]
    metrics.workers.set(len(answered))
    figures.take_gauges([gauge for gauges in answered for gauge in gauges])


async def _describe(workers: Sequence[Worker]) -> Mapping[str, Any] | None:
    """Let any worker describe the public port, which all serve alike."""
    for worker in workers:
        with contextlib.suppress(Unanswered):
            return await worker.openapi()
    return None
