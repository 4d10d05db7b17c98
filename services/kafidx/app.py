"""Start and stop kafidx: Redis, the internal port, the readers of Kafka and the public port."""

import contextlib
from asyncio import Event
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.backbone import names
from services.backbone.health import Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.pages import Assets, Renderer, login_of, protected
from services.backbone.process import http_server
from services.backbone.redis import connect
from services.kafidx.metrics import Metrics
from services.kafidx.routes import LiveSocket, Pages, UpgradeProtocol, add_find, add_pages
from services.kafidx.routes.pages import SITE
from services.kafidx.routes.styleguide import add_style_guide
from services.kafidx.settings import Settings
from services.kafidx.store.counters import Counters
from services.kafidx.store.dead import DeadLetters
from services.kafidx.store.ends import TopicEnds
from services.kafidx.store.find import Finder
from services.kafidx.store.topics import Topics

log = get_logger(__name__)

_REDIS_TIMEOUT_S: Final = 3.0
_HERE: Final = Path(__file__).parent


async def run(settings: Settings, stop: Event) -> None:
    """Serve until `stop` is set.

    kafidx starts without Redis and Kafka. The clients connect at their first use, and the pages show an outage. The
    internal port opens first and closes last, so that health is visible all the time. At a stop the public port closes
    first, which closes the sockets. Browsers reconnect by themselves and continue at their positions. The readers close
    after the sockets that they serve.
    """
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    url = settings.counters_redis_url.get_secret_value()
    redis = connect(url, timeout_s=_REDIS_TIMEOUT_S, resend=True, text="replace")
    ends = TopicEnds(settings.bootstrap_servers, names.EVENTS_TOPIC)
    dead_ends = TopicEnds(settings.bootstrap_servers, names.DEAD_LETTER_TOPIC)
    topics = Topics(settings, metrics)
    counters = Counters(redis, ends, stale_s=settings.stale_s)
    assets = Assets(_HERE / "static", url=settings.assets_url)
    renderer = Renderer(_HERE / "templates", SITE, assets)
    pages = Pages(counters, DeadLetters(settings, dead_ends), topics, renderer)
    public_app = create_app(pages, LiveSocket(topics, settings, metrics), assets)
    if settings.password is None:  # local use: it then listens on loopback only
        add_style_guide(public_app, renderer, assets)
    add_find(public_app, renderer, Finder(settings, redis, metrics))

    async def check_kafka() -> str:
        return f"partitions {len(await ends.get())}"

    async def refresh_metrics() -> None:
        topics.observe()

    # The pages show what is away, so kafidx serves without either.
    health = Health({}, shown={"redis": counters.check, "kafka": check_kafka}, check_timeout_s=4.0)
    internal_app = create_internal_app(health, registry, public_app=public_app, refresh_metrics=refresh_metrics)
    async with (
        contextlib.aclosing(redis),
        http_server(internal_app, host=settings.internal_host, port=settings.internal_port, drain_s=1.0),
        contextlib.aclosing(ends),
        contextlib.aclosing(dead_ends),
        contextlib.aclosing(topics),
        http_server(
            protected(
                public_app,
                "kafidx",
                {"operator": login_of(settings.user, settings.password)},
                refused=metrics.refused,
                open_paths=assets,
                renderer=renderer,
                settings=settings,
            ),
            host=settings.host,
            port=settings.port,
            drain_s=1.0,
            websocket_protocol=UpgradeProtocol,
        ),
    ):
        log.info("serving", host=settings.host, port=settings.port, internal_port=settings.internal_port)
        await stop.wait()
        health.stopping = True


def create_app(pages: Pages, socket: LiveSocket, assets: Assets) -> FastAPI:
    """Build the application of the public port. The caller puts a Guard before it."""
    app = FastAPI(title="Push kafidx", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    add_pages(app, pages, socket)
    app.mount("/static", assets)
    return app
