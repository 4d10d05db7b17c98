"""Build and run the process."""

import asyncio
import contextlib
import os
import socket
import uuid
from functools import partial

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.backbone.health import Check, Health, Heartbeat, create_internal_app
from services.backbone.kafka import EventProducer, Record
from services.backbone.logs import get_logger
from services.backbone.process import EXIT_BAD_SETTINGS, fail, http_server
from services.backbone.queue import EventQueue, EvictionAllowed, QueueError, refuse_eviction
from services.backbone.redis import connect
from services.kafkastore.core.entries import FailedEntry, prepare
from services.kafkastore.lookups import DeviceLookup, LocationLookup
from services.kafkastore.metrics import Metrics
from services.kafkastore.settings import Settings
from services.kafkastore.worker.drain import Drain

log = get_logger(__name__)

_REDIS_TIMEOUT_S = 5.0  # far above a slow claim; at most a third of the lease, which is renewed at that interval
_PRODUCE_TIMEOUT_S = 10.0
_STOP_GRACE_S = 4.0  # for the batch in flight; a complete stop takes under ten seconds


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Drain every Redis until `stop` is set.

    Opens lookups, producer, Redis clients and the internal port, in this order. Closes them in reverse order, after all
    drains have finished or given back their batches, so that no batch is in flight when the clients close.

    Ends the process with EX_CONFIG when a Redis may evict keys.
    """
    refused = ""
    try:
        await _run(settings, stop)
    except* EvictionAllowed as group:
        refused = "; ".join(map(str, group.exceptions))
    if refused:
        # Everything is closed: the other drains have given back their batches.
        fail(refused, EXIT_BAD_SETTINGS)


async def _run(settings: Settings, stop: asyncio.Event) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    devices = DeviceLookup()
    devices.warm_up()
    async with contextlib.AsyncExitStack() as opened:
        locations = opened.enter_context(LocationLookup(settings.geoip_database))
        producer = await opened.enter_async_context(EventProducer(settings, request_timeout_s=_PRODUCE_TIMEOUT_S))
        instance = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

        def prepare_entry(entry: bytes, now_ms: int, erased: frozenset[bytes]) -> Record | FailedEntry | None:
            return prepare(
                entry,
                now_ms=now_ms,
                ip_mode=settings.ip_mode,
                locate=locations.locate,
                classify=devices.classify,
                erased=erased,
            )

        redis_timeout_s = min(_REDIS_TIMEOUT_S, settings.lease_s / 3)
        queues: dict[str, EventQueue] = {}
        drains: dict[str, Drain] = {}
        checks = _checks(producer, locations)
        for server in settings.redis_servers:
            client = connect(server.url, timeout_s=redis_timeout_s)
            opened.push_async_callback(client.aclose)
            queues[server.label] = queue = EventQueue(client, instance=instance, lease_s=settings.lease_s)
            drains[server.label] = drain = Drain(
                queue,
                producer,
                prepare_entry,
                settings,
                metrics,
                label=server.label,
                approve_redis=partial(_refuse_eviction, server.label, client),
            )
            checks |= _drain_checks(server.label, client, drain.heartbeat)

        health = Health(checks)
        app = create_internal_app(health, registry, refresh_metrics=partial(_read_ledger, metrics, queues, locations))
        await opened.enter_async_context(
            http_server(app, host=settings.internal_host, port=settings.internal_port, drain_s=1.0)
        )
        log.info("started", redis=list(queues), geoip=locations.describe())
        async with asyncio.TaskGroup() as tasks:
            draining = [tasks.create_task(drain.run(stop)) for drain in drains.values()]
            refreshing = tasks.create_task(_keep_fresh(locations, settings.geoip_check_s))
            await stop.wait()
            health.stopping = True
            _, unfinished = await asyncio.wait(draining, timeout=_STOP_GRACE_S)
            for task in (*unfinished, refreshing):
                task.cancel()


async def _refuse_eviction(label: str, client: Redis) -> None:
    """Raise EvictionAllowed, with the name of the Redis, if it may evict keys. Raises QueueError."""
    try:
        await refuse_eviction(client)
    except EvictionAllowed as refused:
        log.error("redis_refused", redis=label, reason=str(refused))  # noqa: TRY400 - not a bug: no trace
        raise EvictionAllowed(f"{label}: {refused}") from None


def _checks(producer: EventProducer, locations: LocationLookup) -> dict[str, Check]:
    """Return the readiness checks that all drains share."""

    async def kafka() -> str:
        await producer.check()
        return ""

    async def geoip() -> str:
        # Without a database, events get the location XX. Report that, but stay ready.
        return locations.describe()

    return {"kafka": kafka, "geoip": geoip}


def _drain_checks(label: str, client: Redis, heartbeat: Heartbeat) -> dict[str, Check]:
    """Return the readiness checks of one Redis and its drain."""

    async def redis() -> str:
        await client.ping()
        return ""

    return {f"redis {label}": redis, f"drain {label}": heartbeat.check}


async def _keep_fresh(locations: LocationLookup, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await locations.refresh()


async def _read_ledger(metrics: Metrics, queues: dict[str, EventQueue], locations: LocationLookup) -> None:
    """Update the metrics of ledgers and databases. Remove the metrics of a Redis that does not respond."""
    metrics.geoip_databases.set(locations.named)
    metrics.geoip_loaded.set(locations.loaded)

    async def read(label: str, queue: EventQueue) -> None:
        try:
            ledger = await asyncio.wait_for(queue.ledger(), _REDIS_TIMEOUT_S / 2)
        except (QueueError, TimeoutError):
            metrics.ledger.remove_by_labels({"redis": label})
            return
        results = ledger._asdict() | {"waiting": ledger.waiting, "unaccounted": ledger.unaccounted}
        for state, events in results.items():
            metrics.ledger.labels(redis=label, state=state).set(events)

    await asyncio.gather(*(read(label, queue) for label, queue in queues.items()))
