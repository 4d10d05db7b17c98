"""Start and stop storage: MongoDB, the internal port, the loops and the public port."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pymongo.errors import PyMongoError
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from services.backbone.clock import clock_ms
from services.backbone.health import Check, Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.loops import running_loops
from services.backbone.mongo import create_when_available
from services.backbone.pages import Assets, Guard, Login, Logins, Renderer, policy
from services.backbone.process import http_server
from services.backbone.settings import tiles_host
from services.storage.core.matching import SubjectKind
from services.storage.metrics import ApiMetrics
from services.storage.routes import Access, ApiContext, Stores, create_api
from services.storage.routes.pages import SITE, PagesBesideApi, PageStores, create_pages
from services.storage.settings import Settings
from services.storage.store import Database, connect, create_indexes
from services.storage.store.channels import create_channel_indexes
from services.storage.store.devices import create_device_indexes
from services.storage.store.ids import new_id
from services.storage.store.lists import create_list_indexes
from services.storage.store.owed import create_owed_indexes

log = get_logger(__name__)

_HERE: Final = Path(__file__).parent
_FINISH_S: Final = 8.0
_CHECK_TIMEOUT_S: Final = 2.0


class Loops(NamedTuple):
    """The loops of the process, and what the routes call of them."""

    run: Mapping[str, Callable[[], Awaitable[None]]]
    """Each runs until it is cancelled."""
    stop: Callable[[], None]
    """Makes each loop end after its current step. Called before the loops are cancelled."""
    checks: Mapping[str, Check]
    refresh_metrics: Callable[[], Awaitable[None]]
    match_now: Callable[[SubjectKind, str], Awaitable[object]]
    on_change: Callable[[], None]
    """Called after a change that owes an event."""


CreateLoops = Callable[[Database, CollectorRegistry, ApiMetrics], contextlib.AbstractAsyncContextManager[Loops]]


async def run(settings: Settings, stop: asyncio.Event, create_loops: CreateLoops) -> None:
    """Serve until `stop` is set.

    The parts open in this order:

    1. The internal port. It reports the progress of the start.
    2. The indexes, without which a list could read the whole collection, and the key of public locations. storage
       waits for MongoDB here.
    3. The loops, then the public port.

    At a stop the public port closes first and finishes the requests in flight. Then the loops are cancelled: their
    leases end by themselves, and another process continues. Readiness requires the loops, because a process without
    them would leave its changes unmatched. It does not require MongoDB: while MongoDB is away, responses report it.
    """
    registry = CollectorRegistry()
    metrics = ApiMetrics(registry)
    client = connect(settings.mongo_url.get_secret_value())
    database = client[settings.database]
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        loops = await stack.enter_async_context(create_loops(database, registry, metrics))

        async def check_mongo() -> str:
            await client.admin.command("ping")
            return ""

        async def refresh_metrics() -> None:
            with contextlib.suppress(PyMongoError):  # the metrics keep their values; the check reports it
                await loops.refresh_metrics()

        health = Health(loops.checks, shown={"mongo": check_mongo}, check_timeout_s=_CHECK_TIMEOUT_S)
        health.starting = True
        stores = Stores.of(database)
        context = ApiContext(
            stores,
            settings,
            metrics,
            on_change=loops.on_change,
            match_now=loops.match_now,
            now_ms=clock_ms,
            new_id=new_id,
        )
        public_app = create_api(context)
        assets = Assets(_HERE / "static", url=settings.assets_url)
        renderer = Renderer(_HERE / "templates", SITE, assets)
        pages = create_pages(context, PageStores.of(database), renderer, assets)
        internal_app = create_internal_app(health, registry, public_app=public_app, refresh_metrics=refresh_metrics)
        await stack.enter_async_context(
            http_server(internal_app, host=settings.internal_host, port=settings.internal_port, drain_s=1.0)
        )
        if not await create_when_available(lambda: _prepare(database, stores), stop):
            return
        await stack.enter_async_context(running_loops(loops.run, stop, before_cancel=loops.stop))
        await stack.enter_async_context(
            http_server(
                _protected(public_app, pages, context, renderer, assets),
                host=settings.host,
                port=settings.port,
                drain_s=_FINISH_S,
            )
        )
        health.starting = False
        log.info("serving", host=settings.host, port=settings.port, internal_port=settings.internal_port)
        await stop.wait()
        health.stopping = True


async def _prepare(database: Database, stores: Stores) -> None:
    """Create the indexes, and load the key of public locations."""
    for create in (
        create_indexes,
        create_list_indexes,
        create_device_indexes,
        create_channel_indexes,
        create_owed_indexes,
    ):
        await create(database)
    await stores.public_key.load()


def _protected(api: FastAPI, pages: FastAPI, context: ApiContext, renderer: Renderer, assets: Assets) -> Any:
    """Put access control before both applications, and before it the middleware that finds the address of a client.

    The types are Any, because uvicorn and starlette use different types for an ASGI application.
    """
    settings = context.settings
    by_role: dict[str, Login] = {}
    if settings.password is not None:
        by_role["service"] = Login(settings.user.encode(), settings.password.get_secret_value().encode())
        if settings.app_password is not None:
            by_role["app"] = Login(settings.app_user.encode(), settings.app_password.get_secret_value().encode())
    logins = Logins("storage", by_role, context.metrics.refused)
    access: Any = Access(api, logins, devices=context.stores.devices, metrics=context.metrics)
    guard: Any = Guard(
        pages,
        logins,
        roles={"service"},
        open_paths=assets,
        content_policy=policy(
            assets_url=settings.assets_url,
            tiles_host=tiles_host(settings.map_tiles_url),
            images_url=settings.images_url,
        ),
        refusal_page=renderer.refusal,
    )
    beside: Any = PagesBesideApi(pages=guard, api=access)
    return ProxyHeadersMiddleware(beside, trusted_hosts=[str(network) for network in settings.trusted_proxies])
