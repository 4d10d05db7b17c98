"""kafidx with a real broker and a real Redis. Each test has its own topics."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.ports import free_port
from services.backbone import names
from services.backbone.kafka import EventProducer, TopicReader, ensure_topics, topic_plans
from services.kafidx.settings import Settings
from services.kafidx.store import live_topic as topic_module
from services.kafidx.store import record as record_module
from tests.contract.kafidx.serving import PARTITIONS, PASSWORD, Kafidx, Opened, serving


@pytest.fixture
def environ(redis_server: Any, kafka_broker: Any) -> dict[str, str]:
    return {
        "COUNTERS_REDIS_URL": redis_server.url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers,
        "KAFKA_IDEMPOTENCE": "on" if kafka_broker.idempotence else "off",
        "KAFIDX_PORT": str(free_port()),
        "INTERNAL_PORT": str(free_port()),
        "KAFIDX_PASSWORD": PASSWORD,
    }


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    count = Opened()

    class CountedReader(TopicReader):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            count.readers += 1
            super().__init__(*arguments, **options)

    for module in (topic_module, record_module):
        monkeypatch.setattr(module, "TopicReader", CountedReader)
    return count


@pytest.fixture
async def own_topics(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    token = uuid.uuid4().hex[:8]
    monkeypatch.setattr(names, "EVENTS_TOPIC", f"events-{token}")
    monkeypatch.setattr(names, "DEAD_LETTER_TOPIC", f"dead-{token}")
    plans = topic_plans(partitions=PARTITIONS, replication=1, max_event_bytes=262_144)
    await ensure_topics(environ["KAFKA_BOOTSTRAP_SERVERS"], plans)


@pytest.fixture
async def kafidx(environ: dict[str, str], own_topics: None) -> AsyncIterator[Kafidx]:  # noqa: ARG001 - the topics must exist
    async with serving(environ) as running:
        yield running


@pytest.fixture
async def producer(environ: dict[str, str]) -> AsyncIterator[EventProducer]:
    async with EventProducer(Settings.from_env(environ)) as opened_producer:
        yield opened_producer


@pytest.fixture
async def redis(clean_redis: Any) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as client:
        yield client
