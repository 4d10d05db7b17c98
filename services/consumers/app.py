"""Start and stop the pages of the actions: Redis, the internal port and the public port."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from services.backbone.health import Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.pages import Assets, Renderer, login_of, protected
from services.backbone.pages.schedule import SchedulePages
from services.backbone.process import http_server
from services.backbone.schedule import JobPlan
from services.consumers.metrics import AdminMetrics
from services.consumers.routes import SITE, ActionPages, create_pages
from services.consumers.routes.pages import PINGDOM
from services.consumers.settings import Settings
from services.consumers.store.actions import ActionStore
from services.consumers.store.connection import connect_actions
from services.consumers.store.schedule import schedule_of

log = get_logger(__name__)

_REDIS_TIMEOUT_S: Final = 3.0  # a person waits
_HERE: Final = Path(__file__).parent


async def run_admin(settings: Settings, handlers: Sequence[str], jobs: Sequence[JobPlan], stop: asyncio.Event) -> None:
    """Serve the pages until `stop` is set.

    They start without Redis and report that it is away. The internal port opens first and closes last.
    """
    registry = CollectorRegistry()
    metrics = AdminMetrics(registry)
    redis = connect_actions(settings, timeout_s=_REDIS_TIMEOUT_S)
    assets = Assets(_HERE / "static", url=settings.assets_url)
    renderer = Renderer(_HERE / "templates", SITE, assets)
    store = ActionStore(redis, time_limit_s=settings.time_limit_s)
    schedule = SchedulePages(schedule_of(redis, settings), jobs, renderer, zone=settings.zone, by=settings.user)
    pages = create_pages(ActionPages(store, handlers, renderer, by=settings.user, off=settings.off), schedule, assets)

    async def check_redis() -> str:
        await redis.ping()
        return ""

    health = Health({}, shown={"redis": check_redis})
    internal_app = create_internal_app(health, registry)
    async with (
        contextlib.aclosing(redis),
        http_server(internal_app, host=settings.internal_host, port=settings.internal_port, drain_s=1.0),
        http_server(
            protected(
                pages,
                "actions",
                {"operator": login_of(settings.user, settings.password)},
                refused=metrics.refused,
                open_paths=_OpenPaths(assets),
                renderer=renderer,
                settings=settings,
            ),
            host=settings.host,
            port=settings.port,
            drain_s=3.0,
        ),
    ):
        log.info("serving", host=settings.host, port=settings.port, internal_port=settings.internal_port)
        await stop.wait()
        health.stopping = True


class _OpenPaths:
    """The paths that need no login: static files, and the check of the old system, which returns a constant."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    def __contains__(self, path: object) -> bool:
        return path == PINGDOM or path in self._assets
