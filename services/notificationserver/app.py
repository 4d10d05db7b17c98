"""Start and stop the notificationserver: its stores, the internal port, the loops and the public port."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from pymongo.errors import PyMongoError

from services.backbone.clock import clock_ms
from services.backbone.health import Check, Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.loops import running_loops
from services.backbone.mongo import Database, connect, create_when_available
from services.backbone.pages import Assets, Renderer, login_of, protected
from services.backbone.process import http_server
from services.backbone.redis import connect as connect_redis
from services.notificationserver.core.signatures import format_key
from services.notificationserver.metrics import Metrics
from services.notificationserver.routes import SITE, NotifyContext, PageContext, create_public_app
from services.notificationserver.routes.gate import APP_ROLE, Gate
from services.notificationserver.settings import Settings
from services.notificationserver.store import (
    DeliveryStore,
    GroupWriter,
    MappingStore,
    MessageStore,
    NotificationStore,
    WindowStore,
    create_indexes,
)

log = get_logger(__name__)

_FINISH_S: Final = 8.0
"""For the attempts in flight at a stop."""
_DRAIN_S: Final = 3.0
"""For the requests in flight at a stop. With the attempts it is shorter than the grace period of a container."""
_CHECK_TIMEOUT_S: Final = 2.0
_REDIS_TIMEOUT_S: Final = 2.0
_KEY_BYTES: Final = 32
_HERE: Final = Path(__file__).parent


class Workers(NamedTuple):
    """The loops of the process, and what the routes call of them."""

    run: Mapping[str, Callable[[], Awaitable[None]]]
    """Each runs until it is cancelled."""
    checks: Mapping[str, Check]
    refresh_metrics: Callable[[], Awaitable[None]]
    on_accepted: Callable[[], None]
    """Called after a notification was stored."""
    on_due: Callable[[], None]
    """Called after deliveries became due."""
    stop: Callable[[], None]
    """Called before the loops are cancelled."""
    finish: Callable[[float], Awaitable[None]]
    """Ends the attempts in flight within these seconds, after the loops have ended."""


CreateWorkers = Callable[[Database, WindowStore, Metrics], contextlib.AbstractAsyncContextManager[Workers]]


def _new_id() -> str:
    return uuid.uuid4().hex


async def run(settings: Settings, stop: asyncio.Event, create_workers: CreateWorkers) -> None:
    """Serve until `stop` is set.

    The parts open in this order:

    1. The internal port. It reports the progress of the start.
    2. The indexes. Without them a claim could read a whole collection. The notificationserver waits for MongoDB here.
    3. The loops, then the public port.

    At a stop the public port closes first and finishes the requests in flight. Then the loops end, and the attempts in
    flight finish: an attempt that is cut off is repeated, and its receiver may have it already. Readiness requires
    the loops. MongoDB and Redis are shown: responses report that MongoDB is away, and Redis is a help.
    """
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    mongo = connect(settings.mongo_url.get_secret_value(), service="notificationserver")
    database = mongo[settings.database]
    redis = connect_redis(settings.redis_url.get_secret_value(), timeout_s=_REDIS_TIMEOUT_S, resend=True, text="strict")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(mongo.close)
        stack.push_async_callback(redis.aclose)
        windows = WindowStore(redis)
        workers = await stack.enter_async_context(create_workers(database, windows, metrics))

        async def check_mongo() -> str:
            await mongo.admin.command("ping")
            return ""

        async def check_redis() -> str:
            await redis.ping()
            return ""

        async def refresh_metrics() -> None:
            with contextlib.suppress(PyMongoError, TimeoutError):  # the metrics keep their values; the check reports it
                async with asyncio.timeout(_CHECK_TIMEOUT_S):
                    await workers.refresh_metrics()

        health = Health(
            workers.checks, shown={"mongo": check_mongo, "redis": check_redis}, check_timeout_s=_CHECK_TIMEOUT_S
        )
        health.starting = True
        notifications = NotificationStore(database, keep_days=settings.keep_days)
        context = NotifyContext(
            MappingStore(database),
            windows,
            GroupWriter(notifications.accept),
            settings,
            metrics,
            on_accepted=workers.on_accepted,
            now_ms=clock_ms,
            new_key=lambda: format_key(os.urandom(_KEY_BYTES)),
            new_id=_new_id,
        )
        assets = Assets(_HERE / "static", url=settings.assets_url)
        renderer = Renderer(_HERE / "templates", SITE, assets)
        page_context = PageContext(
            context.mappings,
            notifications,
            MessageStore(database, keep_days=settings.keep_days),
            DeliveryStore(database, keep_days=settings.keep_days),
            renderer,
            settings.storage_pages_url,
            now_ms=clock_ms,
            new_id=_new_id,
            wake=workers.on_due,
        )
        public_app = create_public_app(context, page_context, assets)
        internal_app = create_internal_app(health, registry, public_app=public_app, refresh_metrics=refresh_metrics)
        await stack.enter_async_context(
            http_server(internal_app, host=settings.internal_host, port=settings.internal_port, drain_s=1.0)
        )
        if not await create_when_available(lambda: create_indexes(database), stop):
            return
        stack.push_async_callback(workers.finish, _FINISH_S)
        await stack.enter_async_context(running_loops(workers.run, stop, before_cancel=workers.stop))
        await stack.enter_async_context(
            http_server(
                protected(
                    Gate(public_app, metrics=metrics),
                    "notificationserver",
                    {
                        "service": login_of(settings.user, settings.password),
                        APP_ROLE: login_of(settings.app_user, settings.app_password),
                    },
                    refused=metrics.refused,
                    open_paths=_OpenPaths(assets),
                    renderer=renderer,
                    settings=settings,
                ),
                host=settings.host,
                port=settings.port,
                drain_s=_DRAIN_S,
            )
        )
        health.starting = False
        log.info("serving", host=settings.host, port=settings.port, internal_port=settings.internal_port)
        await stop.wait()
        health.stopping = True


class _OpenPaths:
    """The paths that need no login: static files, and chat webhooks, which have a signature."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and (path.startswith("/sendbird/") or path in self._assets)
