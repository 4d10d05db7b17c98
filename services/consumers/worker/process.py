"""The process of one statistics consumer: its clients, its internal port, its start and its stop."""

import asyncio
import contextlib

from prometheus_client import CollectorRegistry

from services.backbone.counters import CounterStore
from services.backbone.health import Health, create_internal_app
from services.backbone.process import http_server, run_task
from services.backbone.redis import connect
from services.consumers.handlers import Handler
from services.consumers.metrics import Metrics
from services.consumers.settings import Settings
from services.consumers.worker.consumer import StatisticsConsumer

_REDIS_TIMEOUT_S = 5.0


async def run(handler: Handler, settings: Settings, stop: asyncio.Event) -> None:
    """Count until `stop` is set.

    The internal port opens first, so that it can be asked why the process is not ready while Redis or Kafka is away;
    then Redis, then the group is joined. Stopping goes the other way: the group is left first, so that others take over
    at once. A batch that is being written then is either counted whole or not at all, and then by whoever takes over.
    """
    registry = CollectorRegistry()
    url = settings.counters_redis_url.get_secret_value()
    redis = connect(url, timeout_s=_REDIS_TIMEOUT_S, resend=True, text="strict")
    consumer = StatisticsConsumer(handler, settings, CounterStore(redis), Metrics(registry))

    async def check_redis() -> str:
        await redis.ping()
        return ""

    health = Health(
        {
            "loop": consumer.heartbeat.check,
            "redis": check_redis,
            "kafka": consumer.check_kafka,
            "partitions": consumer.check_partitions,
        }
    )
    app = create_internal_app(health, registry)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        await stack.enter_async_context(http_server(app, host=settings.internal_host, port=settings.internal_port))

        def begin_stop() -> None:
            health.stopping = consumer.stopping = True

        await run_task(consumer.count_forever(), stop, before_cancel=begin_stop)
