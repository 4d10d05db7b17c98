"""Run the tracker's process: open Redis and two ports, and close them in the reverse order."""

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
from services.backbone.queue import EvictionAllowed, connect
from services.tracker.core import Rules, memory_error
from services.tracker.metrics import Metrics
from services.tracker.routes import Collector, CollectorProtocol, ConnectionBounds, DirectGets, Limits, add_routes
from services.tracker.settings import Settings
from services.tracker.store import EventStore, Spool, SpoolUnusable

log = get_logger(__name__)

# Headers beyond what an event keeps: cookies and what proxies add. Servers commonly allow 8 to 32 KiB.
_MAX_HEADER_BYTES = 65_536
# Requests in flight wait for at most two pushes; a body still on its way after that is given up.
_FINISH_S = 5.0


def create_app(collector: Collector, batch_paths: Iterable[str]) -> FastAPI:
    """Build the application of the public port. Its schema is served on the internal port only."""
    app = FastAPI(title="Push tracker", openapi_url=None, redirect_slashes=False)
    add_routes(app, collector, batch_paths)
    return app


def create_collector(settings: Settings, store: EventStore, metrics: Metrics) -> Collector:
    """Build what answers requests, by the settings."""
    rules = Rules(
        trusted=settings.trusted_networks,
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
    """Build the bounds on connections, by the settings."""
    bounds = ConnectionBounds(
        max_connections=settings.max_connections,
        max_address_connections=settings.max_address_connections,
        max_buffer_bytes=settings.max_buffer_bytes,
        max_address_buffer_bytes=settings.max_address_buffer_bytes,
        trusted=settings.trusted_networks,
    )
    metrics.connections.set_function(lambda: bounds.connections)
    metrics.buffered_bytes.set_function(lambda: bounds.buffered_bytes)
    return bounds


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then leave so that nothing answered or in flight is lost.

    Opening: the Redis client first, since all else needs it (it connects when it is used: a tracker starts while Redis
    is away); then the internal port, so that whoever asks is told how far we are; then the store, which reads what its
    spool holds; the public port last. Closing is the reverse, after a pause: first readiness says no while
    requests are still served, until no balancer sends new ones; then the public port closes and requests in flight
    finish; then the store flushes; then the internal port, which has told of all this, and Redis close.

    Ends the process with EX_CONFIG when its bounds allow more memory than its cgroup does, when Redis may evict events,
    and when the spool's directory can't be used.
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
    internal_app = create_internal_app(health, registry, public_app=public_app)
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
    """Return the address that this machine is reached at, as far as it knows itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Choosing a route sends nothing; the address is one of those reserved for documentation.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
