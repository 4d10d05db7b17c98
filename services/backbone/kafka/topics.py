"""The topics: their limits, their creation and their offsets."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAlreadyExistsError,
    UnsupportedVersionError,
    for_code,
)

from services.backbone import names
from services.backbone.kafka.errors import KafkaUnavailable, unavailable, within_time_limit
from services.backbone.kafka.isolation import ISOLATION_LEVEL

BATCH_OVERHEAD_BYTES: Final = 64 * 1024
"""Room for record and batch headers, record keys, and the fields that enrichment adds."""
_MIN_BATCH_BYTES: Final = 1_000_000  # large enough for a full claim to be a few batches per partition, not hundreds
_DAY_S: Final = 24 * 3600
_SEGMENTS: Final = 4
_MIN_SEGMENT_BYTES: Final = 1_048_576  # the minimum of Kafka


def max_record_bytes(max_event_bytes: int) -> int:
    """Return the size of the largest record of an event of `max_event_bytes`, which is the limit of the topic.

    Percent-encoding turns one byte into three.
    """
    return max(_MIN_BATCH_BYTES, 3 * max_event_bytes + BATCH_OVERHEAD_BYTES)


@dataclass(frozen=True, kw_only=True)
class TopicPlan:
    """The planned properties of a topic."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str]
    """Topic settings of Kafka, by name."""


def topic_plans(  # noqa: PLR0913 - one a setting, by name
    *,
    partitions: int,
    replication: int,
    max_event_bytes: int,
    retention_s: float = 7 * _DAY_S,
    dead_retention_s: float = 28 * _DAY_S,
    retention_bytes: int = -1,
) -> tuple[TopicPlan, TopicPlan]:
    """Return the plans of the topics of events and of dead letters.

    `retention_bytes` is for each partition; -1 is no bound. All replicas but one must confirm a write, so one broker
    may be down. A single replica confirms alone.
    """
    record_bytes = max_record_bytes(max_event_bytes)
    limits = {
        "max.message.bytes": str(record_bytes),
        "retention.bytes": str(retention_bytes),
        "min.insync.replicas": str(max(1, replication - 1)),
    }
    if retention_bytes > 0:
        # Kafka removes only closed segments. Small segments keep a partition close to its bound.
        limits["segment.bytes"] = str(max(retention_bytes // _SEGMENTS, record_bytes, _MIN_SEGMENT_BYTES))
    # A dead letter holds the original bytes and must be kept longer than the events of its time.
    return (
        _plan(names.EVENTS_TOPIC, partitions, replication, limits, retention_s),
        _plan(names.DEAD_LETTER_TOPIC, 1, replication, limits, dead_retention_s),
    )


def _plan(name: str, partitions: int, replication: int, limits: Mapping[str, str], retention_s: float) -> TopicPlan:
    settings = {**limits, "retention.ms": str(round(retention_s * 1000))}
    return TopicPlan(name=name, partitions=partitions, replication=replication, settings=settings)


async def ensure_topics(bootstrap_servers: str, plans: Iterable[TopicPlan]) -> tuple[str, ...]:
    """Create missing topics and return their names. Existing topics stay unchanged.

    Raises KafkaUnavailable, also when there are fewer brokers than replicas.
    """
    wanted = [
        NewTopic(plan.name, plan.partitions, plan.replication, topic_configs=dict(plan.settings)) for plan in plans
    ]
    try:
        async with open_admin(bootstrap_servers) as admin:
            response = await admin.create_topics(wanted)
    except (KafkaError, OSError) as error:
        raise unavailable(error) from error
    created: list[str] = []
    for topic, code, *_ in response.topic_errors:
        if code == 0:
            created.append(topic)
        elif code != TopicAlreadyExistsError.errno:
            raise KafkaUnavailable(f"topic {topic} could not be created: {for_code(code).__name__}")
    return tuple(created)


async def topic_differences(bootstrap_servers: str, plans: Sequence[TopicPlan]) -> list[str]:
    """Return the differences between existing topics and their plans, as sentences. Raises KafkaUnavailable."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, plan.name, dict(plan.settings)) for plan in plans]
    async with within_time_limit(), open_admin(bootstrap_servers) as admin:
        described = {topic["topic"]: topic for topic in await admin.describe_topics([plan.name for plan in plans])}
        responses = await admin.describe_configs(resources)
    has: dict[str, dict[str, str]] = {}
    for response in responses:
        for code, _message, _kind, name, entries in response.resources:
            if code:
                raise KafkaUnavailable(f"the settings of topic {name} could not be read: {for_code(code).__name__}")
            has[name] = {setting: value for setting, value, *_ in entries}
    found: list[str] = []
    for plan in plans:
        partitions = described[plan.name]["partitions"]
        replicas = min((len(partition["replicas"]) for partition in partitions), default=0)
        compared = {
            "partitions": (len(partitions), plan.partitions),
            "replication": (replicas, plan.replication),
            **{setting: (has[plan.name].get(setting), value) for setting, value in plan.settings.items()},
        }
        found += [
            f"{plan.name}: {what} is {is_}, expected {wanted}"
            for what, (is_, wanted) in compared.items()
            if is_ != wanted
        ]
    return found


async def delete_records(bootstrap_servers: str, topic: str, before: Mapping[int, int]) -> bool:
    """Delete the records of each partition before an offset. No reader can fetch them afterwards.

    Return False when the broker does not support this request. Raises KafkaUnavailable. Their bytes stay on the
    broker's disk until the segment that holds them is closed and removed.
    """
    wanted = {TopicPartition(topic, partition): RecordsToDelete(offset) for partition, offset in before.items()}
    try:
        async with within_time_limit(), open_admin(bootstrap_servers) as admin:
            await admin.delete_records(wanted)
    except KafkaUnavailable as error:
        if isinstance(error.__cause__, IncompatibleBrokerVersion | UnsupportedVersionError):
            return False
        raise
    return True


@contextlib.asynccontextmanager
async def open_admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Connect the client for requests about topics and groups. Raises the errors of the client."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


class TopicOffsets:
    """Reads the end offsets of a topic without a group. Use it as an async context manager.

    It connects at the first call, and again after each failure.
    """

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._clients: tuple[AIOKafkaAdminClient, AIOKafkaConsumer] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._disconnect()

    async def ends(self) -> dict[int, int]:
        """Return the offset after the last record of each partition, or the first offset of an open transaction.

        Raises KafkaUnavailable, also when there is no such topic.
        """
        try:
            async with within_time_limit():
                admin, consumer = await self._connect()
                [described] = await admin.describe_topics([self._topic])
                if described["error_code"]:
                    raise for_code(described["error_code"])(self._topic)
                partitions = [TopicPartition(self._topic, found["partition"]) for found in described["partitions"]]
                ends = await consumer.end_offsets(partitions)
        except KafkaUnavailable:
            await self._disconnect()
            raise
        return {tp.partition: offset for tp, offset in sorted(ends.items())}

    async def _connect(self) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        if self._clients is None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers)
            # The consumer's cluster metadata holds only topics that it is subscribed to, and reading end offsets needs
            # no subscription. So the partitions come from the admin client.
            consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap_servers, isolation_level=ISOLATION_LEVEL)
            self._clients = (admin, consumer)
            await admin.start()
            await consumer.start()
        return self._clients

    async def _disconnect(self) -> None:
        clients, self._clients = self._clients, None
        if clients is not None:
            admin, consumer = clients
            await admin.close()
            await consumer.stop()
