"""The Celery worker: its processes run the actions.

A task is one start of one action. The store decides whether the action may begin, and gets the report of its end. The
consumer reads the report and decides on everything else (core/flights.py).
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from celery import Celery, signals
from celery.exceptions import SoftTimeLimitExceeded

from services.backbone import names
from services.backbone.backoff import Backoff, retried
from services.backbone.celery_worker import STOP_LIMIT_S
from services.backbone.clients import RequestRefused, ServiceFailed, ServiceUnavailable
from services.backbone.events import InvalidEvent
from services.backbone.logs import get_logger
from services.backbone.schedule import ScheduledJob
from services.backbone.schedule.executor import JobExecutor
from services.consumers.core.actions import Action
from services.consumers.handlers.acting import ActionHandler
from services.consumers.handlers.clients import open_clients
from services.consumers.settings import Settings
from services.consumers.store.actions import MOST_STARTS, ActionStore, ActionStoreError, StartResult
from services.consumers.store.celery_queues import create_celery, declare_pings
from services.consumers.store.connection import connect_actions
from services.consumers.store.schedule import SERVICE, open_schedule

log = get_logger(__name__)

_REPORTS = 16
_LONGEST_PAUSE_S = 2.0
_CLOSE_LIMIT_S = 0.5
"""The report of an action over the soft time limit follows, and it must precede the hard one."""
_PONG_S = 600
_LOGGERS_OF_EACH_TASK = ("celery.worker.strategy", "celery.app.trace")
"""At INFO they log two lines for each task."""
_LOGGER_OF_ACKS = "celery.worker.request"


def run_celery_worker(
    settings: Settings, handlers: Mapping[str, ActionHandler], jobs: Mapping[str, ScheduledJob], *, name: str
) -> int:
    """Run actions and periodic jobs until SIGTERM. Return the exit code.

    The environment must contain REMAP_SIGTERM=SIGQUIT before Celery is imported: at SIGTERM, running actions then get
    SOFT_SHUTDOWN_S to end.
    """
    app = create_celery(settings)
    executor = ActionExecutor(settings, handlers)
    job_executor = JobExecutor(
        partial(open_schedule, settings), jobs, zone=settings.zone, late_s=settings.schedule_late_s
    )

    # The names of the parameters are those of the arguments in the queue.
    @app.task(name=names.ACT_TASK)  # type: ignore[untyped-decorator]
    def act(handler: str, action_id: str, arguments: str, is_probe: bool) -> None:
        executor.run(Action(handler, action_id, arguments), is_probe=is_probe)

    @app.task(name=names.PING_TASK)  # type: ignore[untyped-decorator]
    def ping(worker: str) -> None:
        executor.pong(worker)

    @app.task(name=names.SCHEDULE_CHECK_TASK)  # type: ignore[untyped-decorator]
    def check_job(job: str) -> None:
        job_executor.check(job)

    queues = [*map(names.action_queue, handlers), names.schedule_queue(SERVICE), declare_pings(app, name)]
    return _run(app, queues, name, has_heartbeat=settings.sends_events)


def _run(app: Celery, queues: list[str], name: str, *, has_heartbeat: bool) -> int:
    def keep_our_logging(**_: object) -> None:
        """Celery configures no logging if this signal has a receiver."""

    signals.setup_logging.connect(keep_our_logging, weak=False)
    logging.getLogger(_LOGGER_OF_ACKS).addHandler(_EndAfterLostAck())
    for logger in _LOGGERS_OF_EACH_TASK:
        logging.getLogger(logger).setLevel(logging.WARNING)
    worker = app.Worker(
        hostname=name,
        queues=",".join(queues),
        loglevel="INFO",
        quiet=True,
        # Nothing but Flower reads what workers announce.
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=not has_heartbeat,
    )
    worker.start()
    return int(worker.exitcode or 0)


class _EndAfterLostAck(logging.Handler):
    """Ends the worker when it could not acknowledge a task, because its connection to Redis broke.

    Such a task occupies a process for ever. When all processes were busy at that moment, the worker takes no further
    task, and Celery notices nothing. It only logs the failure, at CRITICAL. Its stop can hang then, too.
    """

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self._is_ending = False

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - the signature of a handler
        if not self._is_ending:
            self._is_ending = True  # a second signal would not wait for running actions
            log.error("worker_ends", reason="a task could not be acknowledged")
            ending = threading.Timer(STOP_LIMIT_S, os._exit, args=(1,))
            ending.daemon = True
            ending.start()
            os.kill(os.getpid(), signal.SIGTERM)


class ActionExecutor:
    """Runs actions in one process of the worker. Its clients are opened at the first action, after the fork."""

    def __init__(self, settings: Settings, handlers: Mapping[str, ActionHandler]) -> None:
        self._settings = settings
        self._handlers = handlers
        self._clients: _Clients | None = None

    def run(self, action: Action, *, is_probe: bool) -> None:
        """Run an action once, if it may begin, and report its end."""
        clients = self._opened()
        start = clients.run(clients.store.start(action, is_probe=is_probe))
        if start.kind == "lost":
            reason = _reason(MOST_STARTS, start.over_time)
            log.error("action_dead", handler=action.handler, id=action.id, reason=reason)
            clients.run(clients.store.write_dead_letter(action, reason, attempts=start.attempts))
        elif start.kind != "started":
            log.debug("action_not_begun", handler=action.handler, id=action.id, state=start.kind)
        else:
            self._run_started(clients, action, start)

    def pong(self, worker: str) -> None:
        """Record that this worker receives tasks."""
        clients = self._opened()
        clients.run(clients.redis.set(names.pong_key(worker), "1", ex=_PONG_S))

    def _run_started(self, clients: "_Clients", action: Action, start: StartResult) -> None:
        try:
            clients.run(self._act(clients, action, start))
        except SoftTimeLimitExceeded as error:
            # The limit interrupts this process anywhere, also inside the event loop. So everything is opened again.
            clients.close()
            self._clients = None
            self._report_over_time(self._opened(), action, start, error)

    def _report_over_time(
        self, clients: "_Clients", action: Action, start: StartResult, error: SoftTimeLimitExceeded
    ) -> None:
        """Report a start over the time limit. The last one has the traceback: it shows where the action hangs."""
        fields = {"handler": action.handler, "id": action.id}
        unended = clients.run(clients.store.report_over_time(action, start))
        if not unended.are_too_many:
            log.warning("action_over_time", **fields)
            return
        reason = _reason(unended.starts, unended.over_time)
        log.error("action_dead", **fields, reason=reason)
        clients.run(clients.store.write_dead_letter(action, reason, attempts=unended.attempts, error=error))

    async def _act(self, clients: "_Clients", action: Action, start: StartResult) -> None:
        store = clients.store
        fields = {"handler": action.handler, "id": action.id}
        try:
            handler = self._handlers[action.handler]
            arguments = msgspec.json.decode(action.arguments, type=handler.arguments)
            await handler.act(clients.of_handlers, arguments, action.id)
        except SoftTimeLimitExceeded:
            raise
        except (InvalidEvent, RequestRefused, msgspec.MsgspecError) as error:
            reason = f"{type(error).__name__}: {error}"
            log.exception("action_dead", **fields, reason=reason)
            await store.write_dead_letter(
                action,
                reason,
                attempts=start.attempts + 1,
                error=error,
                is_invalid=isinstance(error, InvalidEvent),
            )
        except ServiceFailed as error:
            await self._fail(store, action, start, error)
        except ServiceUnavailable as error:
            log.info("action_dependency_away", **fields, reason=str(error))
            attempts = await store.report_away(action, start, str(error), wait_s=error.wait_s)
            if attempts >= self._settings.attempts:
                await self._die(store, action, attempts, error)
        except Exception as error:  # noqa: BLE001 - a failed attempt, whatever the error is
            await self._fail(store, action, start, error)
        else:
            # For 15 to 20 s, also over a restart of Redis: without this report the effect would be repeated.
            await retried(
                lambda: store.report_done(action, start),
                ActionStoreError,
                backoff=Backoff(first_s=0.2, longest_s=_LONGEST_PAUSE_S),
                attempts=_REPORTS,
                on_error=lambda error: log.warning("redis_unavailable", error=f"{type(error).__name__}: {error}"),
            )

    async def _fail(self, store: ActionStore, action: Action, start: StartResult, error: Exception) -> None:
        attempts = start.attempts + 1
        if attempts >= self._settings.attempts:
            await self._die(store, action, attempts, error)
        else:
            reason = f"{type(error).__name__}: {error}"
            log.warning("action_failed", handler=action.handler, id=action.id, reason=reason, attempt=attempts)
            await store.report_failed(action, start, reason)

    async def _die(self, store: ActionStore, action: Action, attempts: int, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        log.error("action_dead", handler=action.handler, id=action.id, reason=reason, attempt=attempts)
        await store.write_dead_letter(action, reason, attempts=attempts, error=error)

    def _opened(self) -> "_Clients":
        if self._clients is None:
            self._clients = _Clients(self._settings)
        return self._clients


def _reason(starts: int, over_time: int) -> str:
    """Return why an action is dead whose starts have not ended it."""
    counts = {"worker lost": starts - over_time, "time limit": over_time}
    return ", ".join(f"{what} {times} time{'' if times == 1 else 's'}" for what, times in counts.items() if times > 0)


class _Clients:
    """The event loop of a process and its clients. They stay open between tasks."""

    def __init__(self, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self.redis = connect_actions(settings)
        self.store = ActionStore(self.redis, time_limit_s=settings.time_limit_s)
        self.of_handlers = self.run(open_clients(settings, self.redis))

    def run(self, work: Any) -> Any:
        """Run a coroutine to its end, and return its result."""
        return self._runner.run(_awaited(work))

    def close(self) -> None:
        """Cancel all work and close the connections. It takes at most half a second, unless work ignores its end."""
        try:
            self.run(self._close_connections())
        except Exception as error:  # noqa: BLE001 - the process continues with new connections
            log.warning("connections_not_closed", error=f"{type(error).__name__}: {error}")
        self._runner.close()

    async def _close_connections(self) -> None:
        async with asyncio.timeout(_CLOSE_LIMIT_S):
            # An interrupted action must not continue, or fail for another reason, while its connections close.
            rest = asyncio.all_tasks() - {asyncio.current_task()}
            for task in rest:
                task.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
            await self.of_handlers.aclose()
            await self.redis.aclose()


async def _awaited(work: Any) -> Any:
    return await work
