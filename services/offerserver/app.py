"""Start and stop the pages of the importers: Redis, the internal port and the public port."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.backbone.clock import clock_ms
from services.backbone.health import Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.pages import Assets, Renderer, login_of, protected
from services.backbone.pages.schedule import SchedulePages
from services.backbone.process import http_server
from services.backbone.schedule import JobPlan, longest_gap_s
from services.offerserver.core.importer import Importer, OfferSource
from services.offerserver.core.stale import stale_after_s
from services.offerserver.metrics import ImporterMetric, OfferMetrics
from services.offerserver.routes import SITE, ImporterPages, create_pages
from services.offerserver.routes.pages import PINGDOM
from services.offerserver.settings import Settings
from services.offerserver.store.connection import connect_offers, schedule_of
from services.offerserver.store.runs import RunStore, RunStoreError

log = get_logger(__name__)

_REDIS_TIMEOUT_S: Final = 3.0  # a person waits
_HERE: Final = Path(__file__).parent


class Planned(NamedTuple):
    """The importers and all plans of the schedule, by name."""

    importers: Mapping[str, Importer]
    plans: Mapping[str, JobPlan]


def create_app(settings: Settings, planned: Planned, redis: Redis, metrics: OfferMetrics) -> Any:
    """Return the application of the public port, behind its guard."""
    assets = Assets(_HERE / "static", url=settings.assets_url)
    renderer = Renderer(_HERE / "templates", SITE, assets)
    schedule = schedule_of(redis, settings)
    pages = ImporterPages(
        RunStore(redis),
        schedule,
        planned.importers,
        planned.plans,
        renderer,
        zone=settings.zone,
        by=settings.user,
    )
    jobs = SchedulePages(schedule, planned.plans.values(), renderer, zone=settings.zone, by=settings.user)
    return protected(
        create_pages(pages, jobs, assets),
        "offers",
        {"operator": login_of(settings.user, settings.password)},
        refused=metrics.refused,
        open_paths=_OpenPaths(assets),
        renderer=renderer,
        settings=settings,
    )


async def run_admin(settings: Settings, planned: Planned, stop: asyncio.Event) -> None:
    """Serve the pages until `stop` is set.

    They start without Redis and report that it is away. The internal port opens first and closes last.
    """
    registry = CollectorRegistry()
    metrics = OfferMetrics(registry)
    redis = connect_offers(settings, timeout_s=_REDIS_TIMEOUT_S)
    sources = [importer.source for importer in planned.importers.values()]
    gaps_s = {source.name: longest_gap_s(planned.plans[source.name], settings.zone) for source in sources}

    async def check_redis() -> str:
        await redis.ping()
        return ""

    async def refresh_metrics() -> None:
        with contextlib.suppress(RunStoreError):  # the metrics keep their values; the check reports it
            metrics.set([await _metric(settings, source, redis, gaps_s[source.name]) for source in sources])

    health = Health({}, shown={"redis": check_redis})
    internal_app = create_internal_app(health, registry, refresh_metrics=refresh_metrics)
    async with (
        contextlib.aclosing(redis),
        http_server(internal_app, host=settings.internal_host, port=settings.internal_port, drain_s=1.0),
        http_server(create_app(settings, planned, redis, metrics), host=settings.host, port=settings.port, drain_s=3.0),
    ):
        log.info("serving", host=settings.host, port=settings.port, internal_port=settings.internal_port)
        await stop.wait()
        health.stopping = True


async def _metric(settings: Settings, source: OfferSource, redis: Redis, interval_s: float) -> ImporterMetric:
    store, name = RunStore(redis), source.name
    state = await store.state(name)
    now_ms = clock_ms()
    return ImporterMetric(
        source,
        await store.totals(name),
        age_s=0.0 if state.alive_ms is None else max(0.0, (now_ms - state.alive_ms) / 1000),
        partial_in_a_row=state.partial_in_a_row,
        interval_s=interval_s,
        stale_after_s=stale_after_s(source, settings.stale_days),
    )


class _OpenPaths:
    """The paths that need no login: static files, and the check of the old system, which returns a constant."""

    def __init__(self, assets: Assets) -> None:
        self._assets = assets

    def __contains__(self, path: object) -> bool:
        return path == PINGDOM or path in self._assets
