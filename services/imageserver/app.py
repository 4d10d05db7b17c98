"""Start and stop the imageserver: its stores, the workers, the internal port, the sweeps and the public port."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from pymongo.errors import PyMongoError

from services.backbone.backoff import tried_until_stopped
from services.backbone.clock import clock_ms
from services.backbone.health import Check, Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.loops import running_loops
from services.backbone.mongo import connect, create_when_available
from services.backbone.pages import Assets, Renderer, login_of, protected
from services.backbone.process import http_server
from services.imageserver.core.limits import PictureLimits
from services.imageserver.core.refusals import ImageRefused
from services.imageserver.metrics import Metrics
from services.imageserver.pixels import PicturePool
from services.imageserver.pixels.pool import PoolSize
from services.imageserver.routes.access import APP_ROLE, SERVICE_ROLE, PublicReads, UploadsOfPhones
from services.imageserver.routes.api import create_public_apps
from services.imageserver.routes.context import ImageContext
from services.imageserver.routes.pages import SITE
from services.imageserver.routes.slow_clients import SlowClientProtocol
from services.imageserver.settings import Settings
from services.imageserver.store import AssetStore, LeaseStore, Volume, VolumeThreads, create_indexes
from services.imageserver.store.scratch import scratch_directory

log = get_logger(__name__)

_HERE: Final = Path(__file__).parent
_FINISH_S: Final = 10.0
"""For the requests in flight at a stop. With the default settings an upload is stored 4.5 s after its last byte."""
_CHECK_TIMEOUT_S: Final = 2.0


class SweepLoop(NamedTuple):
    """The loop that sweeps the volume."""

    run: Callable[[], Awaitable[None]]
    stop: Callable[[], None]
    check: Check
    refresh_metrics: Callable[[], Awaitable[None]]


CreateSweepLoop = Callable[[AssetStore, LeaseStore, Volume, VolumeThreads, Metrics], SweepLoop]


async def run(settings: Settings, stop: asyncio.Event, create_sweep_loop: CreateSweepLoop) -> None:
    """Serve until `stop` is set.

    The parts open in this order:

    1. The internal port. It reports the progress of the start.
    2. The workers. A machine on which they cannot start must not take uploads.
    3. The directories of the volume, before any replica looks into one. The imageserver waits for the volume here.
    4. The indexes, without which two assets could have one key. The imageserver waits for MongoDB here.
    5. The loop of the sweeps, then the public port.

    At a stop the public port closes first and finishes the requests in flight. Readiness requires the volume, since it
    may be away from one node alone; then other replicas serve. MongoDB is shown: responses report that it is away.
    """
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    mongo = connect(settings.mongo_url.get_secret_value(), service="imageserver")
    database = mongo[settings.database]
    assets, leases, volume = AssetStore(database), LeaseStore(database), Volume(settings.volume)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(mongo.close)
        scratch = stack.enter_context(scratch_directory(settings.scratch))
        # Each has threads of its own, so that readers delay no health check, and a sweep delays neither it nor metrics.
        checking, sweeping, reading, writing = (
            stack.enter_context(
                contextlib.closing(VolumeThreads(threads=threads, timeout_s=settings.volume_timeout_s, name=name))
            )
            for name, threads in (
                ("volume-check", 1),
                ("volume-sweep", 2),
                ("volume-read", settings.volume_threads),
                ("volume-write", settings.volume_threads),
            )
        )
        sweep_loop = create_sweep_loop(assets, leases, volume, sweeping, metrics)

        async def check_volume() -> str:
            size, free = await checking.run(volume.space)
            return f"{free / size:.0%} free"

        async def check_mongo() -> str:
            await mongo.admin.command("ping")
            return ""

        async def refresh_metrics() -> None:
            # The metrics keep their values; the checks report what is away.
            with contextlib.suppress(PyMongoError, OSError, ImageRefused, TimeoutError):
                async with asyncio.timeout(_CHECK_TIMEOUT_S):
                    await sweep_loop.refresh_metrics()

        limits = PictureLimits(settings.max_bytes, settings.max_pixels, settings.max_frames)
        pool = PicturePool(_pool_size(settings), limits, metrics)
        health = Health(
            {"sweeper": sweep_loop.check, "volume": check_volume, "workers": pool.check},
            shown={"mongo": check_mongo},
            check_timeout_s=_CHECK_TIMEOUT_S,
        )
        health.starting = True
        context = ImageContext(
            assets, volume, reading, writing, pool, limits, scratch, settings, metrics, now_ms=clock_ms
        )
        static = Assets(_HERE / "static", url=settings.assets_url)
        renderer = Renderer(_HERE / "templates", SITE, static)
        apps = create_public_apps(context, renderer, static)
        internal_app = create_internal_app(health, registry, public_app=apps.api, refresh_metrics=refresh_metrics)
        await stack.enter_async_context(
            http_server(internal_app, host=settings.internal_host, port=settings.internal_port, drain_s=1.0)
        )
        await stack.enter_async_context(pool)
        volume_errors = (OSError, ImageRefused)
        if not await tried_until_stopped(
            lambda: writing.run(volume.create), volume_errors, stop, on_error=_report_volume
        ):
            return
        if not await create_when_available(lambda: create_indexes(database), stop):
            return
        await stack.enter_async_context(running_loops({"sweeper": sweep_loop.run}, stop, before_cancel=sweep_loop.stop))
        await stack.enter_async_context(
            http_server(
                PublicReads(
                    apps,
                    protected(
                        UploadsOfPhones(apps.api),
                        "imageserver",
                        {
                            SERVICE_ROLE: login_of(settings.user, settings.password),
                            APP_ROLE: login_of(settings.app_user, settings.app_password),
                        },
                        refused=metrics.refused_logins,
                        open_paths=static,
                        renderer=renderer,
                        settings=settings,
                    ),
                    metrics,
                ),
                host=settings.host,
                port=settings.port,
                drain_s=_FINISH_S,
                protocol=SlowClientProtocol,
            )
        )
        health.starting = False
        log.info("serving", host=settings.host, port=settings.port, internal_port=settings.internal_port)
        await stop.wait()
        health.stopping = True


def _report_volume(error: Exception) -> None:
    log.warning("volume_not_available", error=str(error)[:200])


def _pool_size(settings: Settings) -> PoolSize:
    return PoolSize(
        workers=settings.workers,
        queue=settings.queue,
        queue_timeout_s=settings.queue_timeout_s,
        work_timeout_s=settings.work_timeout_s,
        worker_mb=settings.worker_mb,
    )
