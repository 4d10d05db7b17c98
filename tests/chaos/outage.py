"""An outage of Kafka under load: how much memory kafkastore needs, and how fast it catches up."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import psutil
from redis.asyncio import Redis

from deploy.chaos.load import ChaosLoad, requests
from deploy.chaos.system import ChaosSystem
from services.backbone.queue import EventQueue, Ledger

_POLL_S = 0.5
_WARM_UP_S = 5.0  # until the memory of the processes is stable
_CATCH_UP_LIMIT_S = 120.0
_BATCH_EVENTS = 20


class OutageResult(NamedTuple):
    """The result of one outage of the broker."""

    acknowledged: frozenset[str]
    rss_before: int
    """Memory of all kafkastores when the outage began, in bytes."""
    rss_most: int
    """Their peak memory until they had caught up, in bytes."""
    backlog: int
    """Events in the queue at the end of the outage."""
    caught_up_s: float
    """Seconds from the end of the outage until the queue was empty, under load."""
    live_rate: float
    """New events a second during the catch-up."""
    catch_up_rate: float
    """Events a second that kafkastores shipped during the catch-up."""


class _Meter:
    """Reads the kafkastores' memory and the ledger in Redis, which responds while kafkastores are busy."""

    def __init__(self, system: ChaosSystem, redis: Redis) -> None:
        self._processes = [psutil.Process(service.pid) for service in system.kafkastores]
        self._queue = EventQueue(redis)
        self.most = 0

    async def read(self) -> Ledger:
        self.most = max(self.most, self.resident())
        return await self._queue.ledger()

    def resident(self) -> int:
        return sum(process.memory_info().rss for process in self._processes)


async def measure(
    system: ChaosSystem,
    *,
    leave: Callable[[], Awaitable[None]],
    come_back: Callable[[], Awaitable[None]],
    away_s: float,
    rate: float,
) -> OutageResult:
    """Stop the broker for `away_s` while clients send batches at `rate` events a second."""
    source = requests(f"away-{time.time_ns()}", batch_every=1, batch_events=_BATCH_EVENTS)
    load = ChaosLoad(system.tracker_ports, source, rate=rate / _BATCH_EVENTS, connections=32)
    async with Redis.from_url(system.stack.redis_url) as redis, asyncio.TaskGroup() as tasks:
        meter = _Meter(system, redis)
        tasks.create_task(load.run())
        try:
            await asyncio.sleep(_WARM_UP_S)
            before = meter.resident()
            await leave()
            until = time.monotonic() + away_s
            while time.monotonic() < until:
                await meter.read()
                await asyncio.sleep(_POLL_S)
            await come_back()
            begun, first = time.monotonic(), await meter.read()
            while (last := await meter.read()).waiting > rate * _POLL_S:
                if time.monotonic() - begun > _CATCH_UP_LIMIT_S:
                    break
                await asyncio.sleep(_POLL_S / 5)
            taken_s = time.monotonic() - begun
        finally:
            load.end()
    return OutageResult(
        acknowledged=frozenset(load.counts.acknowledged),
        rss_before=before,
        rss_most=meter.most,
        backlog=first.waiting,
        caught_up_s=taken_s,
        live_rate=(last.accepted - first.accepted) / taken_s,
        catch_up_rate=(last.produced - first.produced) / taken_s,
    )
