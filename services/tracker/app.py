"""The tracker's process: opens Redis and two ports, and closes them in the reverse order."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from functools import partial

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.backbone.health import Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.process import EXIT_BAD_SETTINGS, fail, http_server, memory_limit
from services.backbone.queue import EvictionAllowed
from services.backbone.redis import connect
from services.tracker.core import Rules, memory_error
from services.tracker.metrics import Metrics
from services.tracker.routes import (
    Collector,
    CollectorProtocol,
    ConnectionBounds,
    DirectGets,
    Limits,
    add_routes,
    find_route,
)
from services.tracker.settings import Settings
from services.tracker.store import EventSearch, EventStore, Spool, SpoolUnusable

log = get_logger(__name__)

# Headers that an event does not keep: cookies, and headers that proxies add. Servers usually allow 8 to 32 KiB.
_MAX_HEADER_BYTES = 65_536
# A request in flight waits for at most two pushes. After this time a body that is incomplete is dropped.
_FINISH_S = 5.0


def create_app(collector: Collector, batch_paths: Iterable[str]) -> FastAPI:
    """Build the application of the public port. The internal port serves its schema."""
    app = FastAPI(title="Push tracker", openapi_url=None, redirect_slashes=False)
    add_routes(app, collector, batch_paths)
    return app


def create_collector(settings: Settings, store: EventStore, metrics: Metrics) -> Collector:
    """Build the collector from the settings."""
    rules = Rules(
        trusted=settings.trusted_proxies,
        honour_opt_out=settings.honour_opt_out,
        person_parameters=frozenset(name.lower().encode() for name in settings.person_parameters),
        pod=settings.pod_address or own_address(),
    )
    limits = Limits(
        event_bytes=settings.max_event_bytes,
        batch_bytes=settings.max_batch_bytes,
        batch_events=settings.max_batch_events,
        all_bodies_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
    )
    return Collector(store, rules, limits, metrics)


def create_bounds(settings: Settings, metrics: Metrics) -> ConnectionBounds:
    """Build the bounds on connections from the settings."""
    bounds = ConnectionBounds(
        max_connections=settings.max_connections,
        max_address_connections=settings.max_address_connections,
        max_buffer_bytes=settings.max_buffer_bytes,
        max_address_buffer_bytes=settings.max_address_buffer_bytes,
        trusted=settings.trusted_proxies,
    )
    metrics.connections.set_function(lambda: bounds.connections)
    metrics.buffered_bytes.set_function(lambda: bounds.buffered_bytes)
    return bounds


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then stop without losing an event that is stored or in flight.

    The parts open in this order:

    1. The Redis client. It connects at its first use, so a tracker starts while Redis is down.
    2. The internal port. It reports the progress of the start.
    3. The store. It reads the spool.
    4. The public port.

    At a stop, readiness fails first, while the public port still serves: a balancer needs time to notice. Then the
    parts close in the reverse order: the public port finishes the requests in flight, the store flushes, and the
    internal port and the Redis client close last.

    The process exits with EX_CONFIG when its bounds add up to more memory than its cgroup allows, when Redis may evict
    events, and when the spool's directory is unusable.
    """
    limit = memory_limit()
    if limit is not None:
        error = memory_error(settings, limit_bytes=limit.size, source=str(limit.file))
        if error is not None:
            fail(error, EXIT_BAD_SETTINGS)
    try:
        await _serve(settings, stop)
    except (EvictionAllowed, SpoolUnusable) as error:
        fail(str(error), EXIT_BAD_SETTINGS)


async def _serve(settings: Settings, stop: asyncio.Event) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    redis = connect(settings.redis_url.get_secret_value(), timeout_s=settings.push_timeout_s)
    store = EventStore(
        redis,
        metrics,
        max_pending_events=settings.max_pending_events,
        max_pending_bytes=settings.max_pending_bytes,
        spool_after_s=settings.spool_after_s,
    )
    open_spool = None
    if settings.spool_directory is not None:
        open_spool = partial(
            Spool.open,
            settings.spool_directory,
            metrics,
            max_bytes=settings.spool_bytes,
            batch_bytes=settings.max_batch_bytes,
        )
    health = Health({"store": store.check})
    health.starting = True
    collector = create_collector(settings, store, metrics)
    public_app = create_app(collector, settings.batch_paths)
    search = EventSearch(redis, store, pod=settings.pod_address or own_address())
    internal_app = create_internal_app(health, registry, public_app=public_app, more_routes=[find_route(search)])
    protocol = partial(
        CollectorProtocol,
        max_event_bytes=settings.max_event_bytes,
        max_header_bytes=_MAX_HEADER_BYTES,
        head_timeout_s=settings.body_timeout_s,
        bounds=create_bounds(settings, metrics),
        metrics=metrics,
        direct=DirectGets(collector, metrics) if settings.direct_gets else None,
        is_stopping=lambda: health.stopping,
    )
    async with (
        contextlib.aclosing(redis),
        http_server(internal_app, host=settings.internal_host, port=settings.internal_port, drain_s=1.0),
        contextlib.aclosing(store),
    ):
        await store.open(open_spool)
        async with http_server(
            public_app, host=settings.host, port=settings.port, drain_s=_FINISH_S, protocol=protocol
        ):
            health.starting = False
            log.info("serving", host=settings.host, port=settings.port, internal_port=settings.internal_port)
            await stop.wait()
            health.stopping = True
            await asyncio.sleep(settings.drain_s)


def own_address() -> str:
    """Return this machine's address on its default route, or its host name when it has no route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # A connected datagram socket sends nothing. The address is reserved for documentation (RFC 5737).
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
