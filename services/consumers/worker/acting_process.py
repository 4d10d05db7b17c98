"""The process of one action consumer: clients, internal port, start and stop."""

import asyncio
import contextlib

from prometheus_client import CollectorRegistry

from services.backbone.health import Health, create_internal_app
from services.backbone.logs import get_logger
from services.backbone.process import http_server
from services.consumers.core.actions import ActionRule
from services.consumers.metrics import ActionMetrics
from services.consumers.settings import Settings
from services.consumers.store.actions import ActionStore
from services.consumers.store.celery_queues import ActionQueues, create_celery
from services.consumers.store.connection import connect_actions
from services.consumers.worker.acting import ActionConsumer
from services.consumers.worker.members import run_member

log = get_logger(__name__)


async def run_idle_consumer(name: str, reason: str, settings: Settings, stop: asyncio.Event) -> None:
    """Wait until `stop` is set: the consumer is off. It is ready, joins no group, and reports the reason."""

    async def show_reason() -> str:
        return f"off: {reason}"

    log.warning("consumer_off", handler=name, reason=reason)
    app = create_internal_app(Health({}, shown={"consumer": show_reason}), CollectorRegistry())
    async with http_server(app, host=settings.internal_host, port=settings.internal_port):
        await stop.wait()


async def run_action_consumer(rule: ActionRule, settings: Settings, stop: asyncio.Event) -> None:
    """Act until `stop` is set. A consumer without its credentials is off (`Settings.off`).

    The internal port opens first: while Redis or Kafka is down, readiness reports the reason. Then the consumer joins
    its group. At a stop it commits its marks and leaves the group. The next owner of its partitions continues with the
    actions that are in flight.
    """
    if rule.handler in settings.off:
        await run_idle_consumer(rule.handler, settings.off[rule.handler], settings, stop)
        return
    registry = CollectorRegistry()
    redis = connect_actions(settings)
    queues = ActionQueues(create_celery(settings))
    store = ActionStore(redis, time_limit_s=settings.time_limit_s)
    consumer = ActionConsumer(rule, settings, store, queues, ActionMetrics(registry))
    # A consumer that waits for another service is ready: it continues by itself.
    shown = {"dependency": consumer.check_dependency}
    with contextlib.closing(queues):
        await run_member(
            consumer,
            consumer.act_forever,
            redis=redis,
            registry=registry,
            settings=settings,
            stop=stop,
            shown=shown,
        )
