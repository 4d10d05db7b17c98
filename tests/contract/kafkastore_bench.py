"""Fixtures for the tests of kafkastore: its processes, their own Redis, a real broker, and readers of both."""

import asyncio
import contextlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord
from redis.asyncio import Redis

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from deploy.operate.dead_letters import StoredDeadLetter, read_dead_letters
from deploy.operate.queue_admin import QueueAdmin
from services.backbone import names
from services.backbone.events import RawEvent, encode_raw
from services.backbone.kafka import TopicReader
from services.backbone.queue import EventQueue, Ledger
from services.backbone.settings import KafkaSettings
from tests.contract.killed_kafkastore import KilledKafkastore, Point

ROOT = Path(__file__).parents[2]
LIMIT_S = 40.0
LEASE_S = 3.0

Kafkastore = Callable[..., ServiceProcess]
Doom = Callable[..., KilledKafkastore]


def raw_event(event_id: str, **changes: Any) -> RawEvent:
    fields: dict[str, Any] = {
        "id": event_id,
        "received_at_ms": int(time.time() * 1000),
        "address": "83.149.9.216",
        "host": b"trk.example.org",
        "pod": "10.1.2.3",
        "path": b"/offers/view.gif",
        "query": b"di=device-7&kw=flea+market",
        "user_agent": b"Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "referrer": b"https://www.example.org/",
    }
    return RawEvent(**(fields | changes))


def entries(count: int, **changes: Any) -> dict[str, bytes]:
    """Return `count` new entries by their ids."""
    ids = [uuid.uuid4().hex for _ in range(count)]
    return {event_id: encode_raw(raw_event(event_id, **changes)) for event_id in ids}


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        await asyncio.sleep(0.05)


class Topic:
    """The records that were written to a topic since this object was opened."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._begin: dict[TopicPartition, int] = {}

    async def open(self) -> None:
        # Read to the end of the topic. The end offsets of Tansu include only one record of the last batch.
        await self._read()
        self._begin = {tp: await self._consumer.position(tp) for tp in self._consumer.assignment()}

    async def records(self) -> list[ConsumerRecord[bytes, bytes]]:
        for partition, begin in self._begin.items():
            self._consumer.seek(partition, begin)
        return await self._read()

    async def ids(self) -> list[str]:
        return [dict(record.headers)[names.HEADER_EVENT_ID].decode() for record in await self.records()]

    async def _read(self) -> list[ConsumerRecord[bytes, bytes]]:
        ends = await self._consumer.end_offsets(self._consumer.assignment())
        found: list[ConsumerRecord[bytes, bytes]] = []
        while True:
            batches = await self._consumer.getmany(timeout_ms=300)
            for records in batches.values():
                found.extend(records)
            behind = [tp for tp, end in ends.items() if await self._consumer.position(tp) < end]
            if not batches and not behind:
                return found


@contextlib.asynccontextmanager
async def open_topic(stack: LocalStack, topic: str) -> AsyncIterator[Topic]:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=stack.bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="latest",
        max_partition_fetch_bytes=8_000_000,
    )
    await consumer.start()
    try:
        # Without a group, all partitions are assigned.
        opened = Topic(consumer)
        await opened.open()
        yield opened
    finally:
        await consumer.stop()


@pytest.fixture(scope="module")
def redis_beside_the_tracker(local_stack: LocalStack) -> LocalRedis:
    """A separate Redis, because services of other tests drain the stack's first one."""
    return local_stack.start_redis(f"kafkastore-{uuid.uuid4().hex[:6]}")


@pytest.fixture
async def queue(redis_beside_the_tracker: LocalRedis) -> AsyncIterator[EventQueue]:
    redis_beside_the_tracker.flush()
    async with Redis.from_url(redis_beside_the_tracker.url) as redis:
        yield EventQueue(redis)


@pytest.fixture
async def admin(redis_beside_the_tracker: LocalRedis) -> AsyncIterator[QueueAdmin]:
    async with Redis.from_url(redis_beside_the_tracker.url) as redis:
        yield QueueAdmin(redis)


@pytest.fixture
async def events(local_stack: LocalStack) -> AsyncIterator[Topic]:
    async with open_topic(local_stack, names.EVENTS_TOPIC) as topic:
        yield topic


@pytest.fixture
async def dead_letters(local_stack: LocalStack) -> AsyncIterator[Topic]:
    async with open_topic(local_stack, names.DEAD_LETTER_TOPIC) as topic:
        yield topic


@pytest.fixture
def kafkastore(local_stack: LocalStack, redis_beside_the_tracker: LocalRedis, tmp_path: Path) -> Iterator[Kafkastore]:
    """Start kafkastore processes. They are killed after the test."""
    started: list[ServiceProcess] = []

    def start(**env: str) -> ServiceProcess:
        environment = local_stack.environment() | {
            "REDIS_URL": redis_beside_the_tracker.url,
            "KAFKASTORE_LEASE_S": str(LEASE_S),
        }
        service = ServiceProcess("kafkastore", label=f"kafkastore-{len(started)}", logs=tmp_path, env=environment | env)
        started.append(service)
        service.start()
        return service

    yield start
    for service in started:
        service.kill()


@pytest.fixture
def doom(local_stack: LocalStack, redis_beside_the_tracker: LocalRedis, tmp_path: Path) -> Iterator[Doom]:
    """Start kafkastore processes that kill themselves."""
    started: list[KilledKafkastore] = []

    def start(point: Point, passing: int, **env: str) -> KilledKafkastore:
        environment = local_stack.environment() | {"REDIS_URL": redis_beside_the_tracker.url} | env
        label = f"doomed-{len(started)}"
        service = KilledKafkastore(point, passing, label=label, logs=tmp_path, env=environment)
        started.append(service)
        service.start()
        return service

    yield start
    for service in started:
        service.kill()


async def steady(queue: EventQueue, produced: int, dead: int = 0) -> Ledger:
    """Wait until everything is shipped. Check at every poll that the ledger balances."""

    async def done() -> bool:
        ledger = await queue.ledger()
        assert ledger.unaccounted == 0
        return ledger.waiting == 0 and ledger.produced + ledger.dead >= produced + dead

    await until(done, "all entries are shipped")
    ledger = await queue.ledger()
    assert (ledger.produced, ledger.dead, ledger.waiting) == (produced, dead, 0)
    return ledger


def readiness(service: ServiceProcess) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{service.internal_url}/readyz", timeout=5) as response:  # noqa: S310 - loopback
            body: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            body = json.load(error)
    return body


class Printed(NamedTuple):
    """The output of an operator's command."""

    code: int
    text: str


class Command(NamedTuple):
    """A command and its environment."""

    words: list[str]
    environ: dict[str, str]

    async def run(self, *, limit_s: float = 90.0) -> Printed:
        process = await self.start()
        printed, _ = await asyncio.wait_for(process.communicate(), limit_s)
        assert process.returncode is not None
        return Printed(process.returncode, printed.decode())

    async def start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self.words,
            env=self.environ,
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )


def command_line(stack: LocalStack, redis: LocalRedis, *words: str) -> Command:
    """Return a function that runs an operator's command on this Redis and this broker."""
    environ = {
        **os.environ,
        "REDIS_URL": redis.url,
        "COUNTERS_REDIS_URL": redis.url,
        "ACTIONS_REDIS_URL": redis.url,
        "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "KAFKA_IDEMPOTENCE": "on" if stack.kafka_idempotence else "off",
        "COLUMNS": "250",
    }
    return Command([sys.executable, "-m", "deploy.cli", *words], environ)


async def dead_letters_since(stack: LocalStack, since_ms: int) -> list[StoredDeadLetter]:
    """Return the dead letters whose header `time` is this time or later, in their order."""
    settings = KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers})
    async with TopicReader(settings, names.DEAD_LETTER_TOPIC) as reader:
        return [letter async for letter in read_dead_letters(reader) if letter.summary.time_ms >= since_ms]


def readable(now_ms: int) -> str:
    """Format a time for the commands, to the millisecond."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat()
