"""The process beside a Celery worker: it starts the worker, proves that tasks go round, and stops it.

Celery workers that reconnect to Redis can fall silent: the process lives and takes no task. So liveness is a task: a
ping in a queue that only this worker reads. A silent worker ends the process, to be restarted.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.action_overview import ActionOverview
from services.backbone.backoff import Backoff
from services.backbone.celery_worker import celery_worker
from services.backbone.health import Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.process import http_server, run_task
from services.consumers.metrics import WorkerMetrics
from services.consumers.settings import Settings
from services.consumers.store.actions import ActionStore, ActionStoreError
from services.consumers.store.celery_queues import ActionQueues, QueueUnavailable, create_celery
from services.consumers.store.connection import connect_actions

log = get_logger(__name__)

_POLL_S: Final = 0.2


class WorkerEnded(Exception):
    """The Celery worker ended by itself, or is silent."""


async def run_worker(
    settings: Settings, handlers: Sequence[str], stop: asyncio.Event, *, name: str, command: Sequence[str]
) -> None:
    """Run a Celery worker until `stop` is set. `command` starts it.

    The internal port opens first. Then Redis is checked: with another policy than noeviction the worker does not start.
    At a stop the worker gets SIGTERM, so that running actions can end. Another worker starts unended ones again.
    """
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.silence_limit_s.set(settings.silence_s)
    redis = connect_actions(settings)
    store = ActionStore(redis, time_limit_s=settings.time_limit_s)
    queues = ActionQueues(create_celery(settings))
    pings = Pings(redis, queues, settings, name)

    async def check_redis() -> str:
        await redis.ping()
        return ""

    async def refresh_metrics() -> None:
        metrics.silent_s.set(pings.silent_s)
        with contextlib.suppress(ActionStoreError):  # the metrics keep their values; the check reports it
            for handler, length in (await store.overview.queue_lengths(handlers)).items():
                metrics.queued.labels(handler).set(length)
            for (handler, end), number in (await store.overview.ends(handlers)).items():
                metrics.ended.labels(handler, end).set(number)
            metrics.dead_size.set(await store.dead.size())
            metrics.redis_memory.set(await store.memory_share())

    health = Health({"redis": check_redis, "tasks": pings.check})
    app = create_internal_app(health, registry, refresh_metrics=refresh_metrics)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        stack.callback(queues.close)
        await stack.enter_async_context(http_server(app, host=settings.internal_host, port=settings.internal_port))

        def begin_stop() -> None:
            health.stopping = True

        async def work() -> None:
            await _wait_for_redis(store)
            async with celery_worker(command) as process:
                await pings.exchange(process)

        await run_task(work(), stop, before_cancel=begin_stop)


class Pings:
    """The pings of one worker."""

    def __init__(self, redis: Redis, queues: ActionQueues, settings: Settings, name: str) -> None:
        self._redis = redis
        self._overview = ActionOverview(redis)
        self._queues = queues
        self._settings = settings
        self._name = name
        self._received_s = time.monotonic()
        self._was_received = False

    @property
    def silent_s(self) -> float:
        """Seconds since the worker has received a ping, or since its start."""
        return time.monotonic() - self._received_s

    async def check(self) -> str:
        """Raise unless the worker has received a ping in time."""
        if not self._was_received:
            raise RuntimeError("the worker has received no task yet")
        if self.silent_s > self._settings.silence_s:
            raise RuntimeError(f"the worker has received no task for {self.silent_s:.0f} s")
        return ""

    async def exchange(self, process: asyncio.subprocess.Process) -> None:
        """Send pings and wait for each. Raises WorkerEnded when the worker ends or is silent."""
        while True:
            is_sent = await self._send()
            while is_sent and not await self._arrived():
                self._check_process(process)
                if self.silent_s > self._settings.silence_s:
                    raise WorkerEnded(f"the worker has received no task for {self.silent_s:.0f} s")
                await asyncio.sleep(_POLL_S)
            until_s = time.monotonic() + self._settings.ping_s
            while time.monotonic() < until_s:
                self._check_process(process)
                await asyncio.sleep(_POLL_S)

    def _check_process(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            raise WorkerEnded(f"the worker has ended with {process.returncode}")

    async def _send(self) -> bool:
        try:
            await self._redis.delete(names.pong_key(self._name))
            await asyncio.to_thread(self._queues.ping, self._name)
        except (RedisError, QueueUnavailable) as error:
            self._redis_failed(error)
            return False
        return True

    async def _arrived(self) -> bool:
        try:
            arrived = bool(await self._redis.exists(names.pong_key(self._name)))
            if arrived:
                await self._overview.write_worker(self._name, silence_s=self._settings.silence_s)
        except RedisError as error:
            self._redis_failed(error)
            return False
        if arrived:
            self._received_s, self._was_received = time.monotonic(), True
        return arrived

    def _redis_failed(self, error: Exception) -> None:
        """Count no silence while Redis is down: the worker can't receive a task then."""
        log.warning("redis_unavailable", error=f"{type(error).__name__}: {error}")
        self._received_s = time.monotonic()


async def _wait_for_redis(store: ActionStore) -> None:
    backoff = Backoff(first_s=0.1, longest_s=5.0)
    while True:
        try:
            await store.check_policy()
        except ActionStoreError as error:
            log.warning("redis_unavailable", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(backoff.next_s())
        else:
            return
