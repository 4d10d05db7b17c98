"""The live view while its topic is deleted and created again, or gets more partitions."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from prometheus_client import CollectorRegistry

from deploy.develop.localstack.kafka import KafkaBroker
from services.backbone.kafka import EventProducer, Record, reader
from services.backbone.kafka.producer import _key_hash
from services.kafidx.core.filters import Filter
from services.kafidx.core.live import OpenViews
from services.kafidx.core.positions import Start
from services.kafidx.metrics import Metrics
from services.kafidx.settings import Settings
from services.kafidx.store.live_topic import LiveTopic
from tests.contract.consumer_bench import eventually

METADATA_AGE_S = 1.0
PARTITIONS = 3


class Broker:
    """The topic of one test: creates it, changes it and writes to it."""

    def __init__(self, admin: AIOKafkaAdminClient, settings: Settings, topic: str) -> None:
        self._admin, self._settings, self._topic = admin, settings, topic

    async def create(self, partitions: int) -> None:
        async def created() -> bool:
            response = await self._admin.create_topics([NewTopic(self._topic, partitions, 1)])
            return bool(response.topic_errors[0][1] == 0)  # an error until the old topic is deleted

        async def is_known() -> bool:
            [described] = await self._admin.describe_topics([self._topic])
            return bool(described["error_code"] == 0)

        await eventually(created)
        await eventually(is_known)  # a broker confirms the creation before its own metadata has the topic

    async def recreate(self, partitions: int) -> None:
        await self._admin.delete_topics([self._topic])
        await self.create(partitions)

    async def extend(self, partitions: int) -> None:
        await self._admin.create_partitions({self._topic: NewPartitions(partitions)})

    async def produce(self, count: int, partitions: int) -> None:
        """Write `count` records to each partition. A new producer knows the current partitions."""
        keys = [next(key for key in range(10_000) if _partition(key, partitions) == p) for p in range(partitions)]
        records = [Record(b"view id=%d&ts=1 -" % at, b"%d" % key) for key in keys for at in range(count)]
        async with EventProducer(self._settings) as producer:
            assert await producer.produce(self._topic, records) == []


def _partition(key: int, partitions: int) -> int:
    return _key_hash(b"%d" % key) % partitions


@pytest.fixture
async def opened(
    kafka_broker: KafkaBroker, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Broker, LiveTopic]]:
    if kafka_broker.kind == "tansu":
        pytest.skip("Tansu does not delete topics as Apache Kafka does")
    monkeypatch.setattr(reader, "METADATA_AGE_S", METADATA_AGE_S)
    settings = Settings.from_env({"KAFKA_BOOTSTRAP_SERVERS": kafka_broker.bootstrap_servers})
    name = unique_name[-60:]
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)
    topic = LiveTopic(settings, Metrics(CollectorRegistry()), name, OpenViews(limit=5))
    async with contextlib.AsyncExitStack() as stack:
        await admin.start()
        stack.push_async_callback(admin.close)
        broker = Broker(admin, settings, name)
        await broker.create(PARTITIONS)
        stack.push_async_callback(topic.aclose)
        yield broker, topic


@pytest.mark.parametrize("partitions", [PARTITIONS, 1, PARTITIONS + 2], ids=["same number", "fewer", "more"])
async def test_subscriber_gets_all_events_of_a_topic_that_is_created_again(
    opened: tuple[Broker, LiveTopic], partitions: int
) -> None:
    broker, topic = opened
    subscriber = await topic.subscribe(Filter(), Start())
    await broker.produce(10, PARTITIONS)

    async def seen_old() -> bool:
        return subscriber.seen == 10 * PARTITIONS

    await eventually(seen_old)
    await broker.recreate(partitions)
    # More events than before, so that the old positions are inside the new topic and no offset is out of range.
    await broker.produce(30, partitions)

    async def at_the_end() -> bool:
        return subscriber.seen >= 10 * PARTITIONS + 30 * partitions and sorted(subscriber.next) == list(
            range(partitions)
        )

    await eventually(at_the_end, limit_s=30)
    assert not subscriber.kafka_away


async def test_subscriber_gets_the_events_of_added_partitions(opened: tuple[Broker, LiveTopic]) -> None:
    broker, topic = opened
    subscriber = await topic.subscribe(Filter(), Start())
    await broker.produce(10, PARTITIONS)
    await broker.extend(PARTITIONS + 2)
    await broker.produce(10, PARTITIONS + 2)

    async def seen_all() -> bool:
        return subscriber.seen == 10 * PARTITIONS + 10 * (PARTITIONS + 2)

    await eventually(seen_all, limit_s=30)
    assert sorted(subscriber.next) == list(range(PARTITIONS + 2))
