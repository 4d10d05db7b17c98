"""The process beside a Celery worker: it starts the worker, watches that it executes checks, and stops it.

Celery workers that reconnect to Redis can fall silent: the process lives and takes no task. Beat sends checks every few
seconds, so a worker that executes none for longer than a run may take ends the process, to be restarted.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone.celery_worker import celery_worker
from services.backbone.health import Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.process import http_server, run_task
from services.backbone.redis_outages import RedisOutages
from services.offerserver.metrics import OfferWorkerMetrics
from services.offerserver.settings import Settings
from services.offerserver.store.connection import connect_offers
from services.offerserver.store.heartbeats import last_beat_ms

log = get_logger(__name__)

_LOOK_S: Final = 1.0
_SILENCE_MARGIN_S: Final = 120.0
"""All processes of a worker may be busy for the whole time of a run, and then beat and Redis take their time."""


class OfferWorkerEnded(Exception):
    """The Celery worker ended by itself, or is silent."""


async def run_worker(settings: Settings, stop: asyncio.Event, *, name: str, command: Sequence[str]) -> None:
    """Run a Celery worker until `stop` is set. `command` starts it. The internal port opens first and closes last.

    At a stop the worker gets SIGTERM, so that runs get some seconds to end. An unended one is repeated as planned.
    """
    registry = CollectorRegistry()
    metrics = OfferWorkerMetrics(registry)
    redis = connect_offers(settings)
    heartbeat = WorkerHeartbeat(redis, name, limit_s=settings.run_limit_s + _SILENCE_MARGIN_S)

    async def check_redis() -> str:
        await redis.ping()
        return ""

    async def refresh_metrics() -> None:
        metrics.silent.set(heartbeat.silent_s)

    health = Health({"redis": check_redis, "checks": heartbeat.check})
    internal_app = create_internal_app(health, registry, refresh_metrics=refresh_metrics)
    async with (
        contextlib.aclosing(redis),
        http_server(internal_app, host=settings.internal_host, port=settings.internal_port),
    ):

        def begin_stop() -> None:
            health.stopping = True

        async def work() -> None:
            async with celery_worker(command) as process:
                await heartbeat.watch(process)

        await run_task(work(), stop, before_cancel=begin_stop)


class WorkerHeartbeat:
    """The checks that one worker executes."""

    def __init__(self, redis: Redis, name: str, *, limit_s: float) -> None:
        self._redis = redis
        self._name = name
        self._limit_s = limit_s
        self._seen_s = time.monotonic()
        self._last_ms: int | None = None
        self._outages = RedisOutages()

    @property
    def silent_s(self) -> float:
        """Seconds since a new check was seen, or since the start."""
        return time.monotonic() - self._seen_s

    async def check(self) -> str:
        """Raise unless the worker executes checks."""
        if self._last_ms is None:
            raise RuntimeError("the worker has executed no check yet")
        if self.silent_s > self._limit_s:
            raise RuntimeError(f"the worker has executed no check for {self.silent_s:.0f} s")
        return ""

    async def watch(self, process: asyncio.subprocess.Process) -> None:
        """Watch until cancelled. Raises OfferWorkerEnded when the worker ends or is silent."""
        while True:
            if process.returncode is not None:
                raise OfferWorkerEnded(f"the worker has ended with {process.returncode}")
            await self._look()
            if self.silent_s > self._limit_s:
                raise OfferWorkerEnded(f"the worker has executed no check for {self.silent_s:.0f} s")
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        """Look for a new heartbeat. No silence counts while Redis is down: the worker can't receive a check then."""
        try:
            last_ms = await last_beat_ms(self._redis, self._name)
        except RedisError as error:
            self._outages.failed(error)
            self._seen_s = time.monotonic()
            return
        self._outages.succeeded()
        if last_ms != self._last_ms:
            self._last_ms, self._seen_s = last_ms, time.monotonic()
