"""Fixtures for the tests of the statistics consumers: a Redis, a topic, events, and the extent of the topic."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from redis.asyncio import Redis

from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.counters import CounterStore
from services.backbone.events import Event, Location, encode_event
from services.backbone.kafka import EventProducer, Record, ensure_topics, topic_plans
from services.consumers.settings import Settings
from services.consumers.worker import StatisticsConsumer

PARTITIONS = 3
_QUIET_MS = 1000


class Extent(NamedTuple):
    """The offsets of a topic, by partition."""

    begins: dict[int, int]
    ends: dict[int, int]

    @property
    def end(self) -> int:
        """The sum of the end offsets: it grows by one with each record."""
        return sum(self.ends.values())


@dataclass(frozen=True)
class Bench:
    """An empty Redis for counters, and a broker."""

    environ: dict[str, str]
    settings: Settings
    redis: Redis
    store: CounterStore
    producer: EventProducer
    has_tansu: bool

    async def make_topics(self) -> None:
        """Create the topics that `names` contains at the moment, unless they exist."""
        size = self.settings.max_event_bytes
        plans = topic_plans(partitions=PARTITIONS, replication=1, max_event_bytes=size)
        await ensure_topics(self.settings.bootstrap_servers, plans)

    async def produce(self, batch: Sequence[Event]) -> None:
        records = [
            Record(
                encode_event(event),
                headers=((names.HEADER_EVENT_ID, event.id.encode()),),
                timestamp_ms=event.received_at_ms,
            )
            for event in batch
        ]
        # Several calls, so that all partitions get records: one call sends records without a key to one partition.
        for part in range(2 * PARTITIONS):
            assert await self.producer.produce(names.EVENTS_TOPIC, records[part :: 2 * PARTITIONS]) == []

    async def extent(self, *, at_least: int = 0) -> Extent:
        """Return the extent of the topic of events. On Tansu, wait until the end is at least `at_least`."""
        client = AIOKafkaConsumer(
            names.EVENTS_TOPIC, bootstrap_servers=self.settings.bootstrap_servers, enable_auto_commit=False
        )
        try:
            await client.start()
            partitions = client.assignment()
            begins = await client.beginning_offsets(partitions)
            ends = await client.end_offsets(partitions)
            if self.has_tansu:
                ends = await _read_on(client, ends, at_least)
        finally:
            await client.stop()
        return Extent(
            {partition.partition: begin for partition, begin in begins.items()},
            {partition.partition: end for partition, end in ends.items()},
        )


async def _read_on(
    client: AIOKafkaConsumer, ends: dict[TopicPartition, int], at_least: int
) -> dict[TopicPartition, int]:
    """Find the end offsets by reading. Tansu's own value includes only one record of the last batch."""
    for partition, end in ends.items():
        client.seek(partition, end)
    async with asyncio.timeout(30):
        while await client.getmany(timeout_ms=_QUIET_MS) or sum(ends.values()) < at_least:
            ends = {partition: await client.position(partition) for partition in ends}
    return ends


@contextlib.asynccontextmanager
async def open_bench(redis_server: LocalRedis, kafka_broker: KafkaBroker) -> AsyncIterator[Bench]:
    environ = {
        "COUNTERS_REDIS_URL": redis_server.url,
        "KAFKA_BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers,
        "KAFKA_IDEMPOTENCE": "on" if kafka_broker.idempotence else "off",
        "CONSUMERS_POLL_EVENTS": "200",
        "CONSUMERS_POLL_WAIT_S": "0.2",
        "CONSUMERS_LAG_INTERVAL_S": "0.2",
    }
    settings = Settings.from_env(environ)
    async with Redis.from_url(redis_server.url, decode_responses=True) as redis, EventProducer(settings) as producer:
        await redis.flushdb()
        yield Bench(environ, settings, redis, CounterStore(redis), producer, kafka_broker.kind == "tansu")


@contextlib.asynccontextmanager
async def open_own_bench(
    redis_server: LocalRedis, kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """Open a bench with a topic and groups that no other test uses."""
    token = uuid.uuid4().hex[:8]
    monkeypatch.setattr(names, "EVENTS_TOPIC", f"events-{token}")
    monkeypatch.setattr(names, "consumer_group", lambda consumer: f"{consumer}-{token}")
    async with open_bench(redis_server, kafka_broker) as opened:
        await opened.make_topics()
        yield opened


@contextlib.asynccontextmanager
async def running(consumer: StatisticsConsumer) -> AsyncIterator[StatisticsConsumer]:
    """Count until the block ends."""
    task = asyncio.create_task(consumer.count_forever())
    try:
        yield consumer
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def events(types: Sequence[str], *, count: int) -> list[Event]:
    now_ms, token = time.time_ns() // 1_000_000, uuid.uuid4().hex[:8]
    return [
        Event(
            type=types[number % len(types)],
            id=f"{token}-{number}",
            received_at_ms=now_ms - number % 50,
            queue_delay_ms=number % 300,
            pod=f"10.0.0.{number % 2}",
            address=f"{0xC0000200 + number % 5:08x}",
            location=Location("DE" if number % 3 else "AT", "somewhere"),
            params=f"action=preview&text=sofa+{number % 4}" if types[number % len(types)] == "offr" else "",
        )
        for number in range(count)
    ]


async def eventually(condition: Callable[[], Awaitable[bool]], *, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {limit_s:.0f} s"
        await asyncio.sleep(0.05)
