"""The process of one statistics consumer: clients, internal port, start and stop."""

import asyncio

from prometheus_client import CollectorRegistry

from services.backbone.counters import CounterStore
from services.backbone.redis import connect
from services.consumers.handlers import Handler
from services.consumers.metrics import Metrics
from services.consumers.settings import Settings
from services.consumers.worker.consumer import StatisticsConsumer
from services.consumers.worker.members import run_member

_REDIS_TIMEOUT_S = 5.0


async def run(handler: Handler, settings: Settings, stop: asyncio.Event) -> None:
    """Count until `stop` is set.

    The internal port opens first: while Redis or Kafka is down, readiness reports the reason. Then the consumer joins
    its group. A stop closes these in reverse order. The consumer leaves the group first, so that other members take
    over its partitions at once. A batch that is being written is counted completely or not at all; in the second case
    the next owner of the partition counts it.
    """
    registry = CollectorRegistry()
    url = settings.counters_redis_url.get_secret_value()
    redis = connect(url, timeout_s=_REDIS_TIMEOUT_S, resend=True, text="strict")
    consumer = StatisticsConsumer(handler, settings, CounterStore(redis), Metrics(registry))
    await run_member(consumer, consumer.count_forever, redis=redis, registry=registry, settings=settings, stop=stop)
