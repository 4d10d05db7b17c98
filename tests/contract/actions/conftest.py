"""A Redis, a topic and a group for each test of the action consumers, and a worker for each file."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.kafka import EventProducer, ensure_topics, topic_plans
from services.consumers.settings import Settings
from tests.contract.actions.acting_bench import PARTITIONS, ActingBench, ProofProcess, environ_of, unique_names


@pytest.fixture
def environ(clean_redis: LocalRedis, kafka_broker: KafkaBroker) -> dict[str, str]:
    return environ_of(clean_redis, kafka_broker)


@pytest.fixture
def proof_worker(environ: dict[str, str], tmp_path: Path) -> Iterator[ProofProcess]:
    worker = ProofProcess(environ, tmp_path)
    try:
        worker.start()
        worker.wait_until_ready()
        yield worker
    finally:
        worker.process.stop()


@pytest.fixture
async def acting_bench(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ActingBench]:
    token = unique_names()
    monkeypatch.setattr(names, "EVENTS_TOPIC", f"events-{token}")
    monkeypatch.setattr(names, "consumer_group", lambda consumer: f"{consumer}-{token}")
    settings = Settings.from_env(environ)
    plans = topic_plans(partitions=PARTITIONS, replication=1, max_event_bytes=settings.max_event_bytes)
    await ensure_topics(settings.bootstrap_servers, plans)
    async with (
        Redis.from_url(environ["ACTIONS_REDIS_URL"], decode_responses=True) as redis,
        Redis.from_url(environ["PROOF_REDIS_URL"], decode_responses=True) as effects,
        EventProducer(settings) as producer,
    ):
        yield ActingBench(environ, producer, redis, effects)
