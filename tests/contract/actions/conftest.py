"""A Redis, a topic and a group for each test of the action consumers, and a worker for each file."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.ports import LOOPBACK
from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from services.backbone import names
from services.backbone.kafka import EventProducer, ensure_topics, topic_plans
from services.backbone.schedule import ScheduleStore
from services.consumers.settings import Settings
from services.consumers.store.schedule import open_schedule
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


@pytest.fixture
async def schedule(environ: dict[str, str]) -> AsyncIterator[ScheduleStore]:
    store = open_schedule(Settings.from_env(environ))
    yield store
    await store.aclose()


@pytest.fixture
async def pages(environ: dict[str, str], tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """An operator's client of the pages, whose settings are in `environ` (`environ_of_pages`)."""
    process = ServiceProcess("consumers", "admin", label="admin", logs=tmp_path, env=environ)
    process.start()
    try:
        process.wait_until_ready()
        url = f"http://{LOOPBACK}:{environ['CONSUMERS_PORT']}"
        headers = {"accept": "text/html", "origin": url}
        login = ("consumers", environ["CONSUMERS_PASSWORD"])
        async with httpx.AsyncClient(
            base_url=url, auth=login, headers=headers, follow_redirects=True, timeout=20
        ) as client:
            yield client
    finally:
        process.stop()
