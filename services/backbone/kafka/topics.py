"""The topics: their limits, their making, and how far they have come."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    TopicAlreadyExistsError,
    UnsupportedVersionError,
    for_code,
)

from services.backbone import names
from services.backbone.kafka.faults import KafkaUnavailable, answer_in_time, unavailable

BATCH_OVERHEAD_BYTES: Final = 64 * 1024
"""Room for record and batch headers, record keys, and the fields that enrichment adds."""
_MIN_BATCH_BYTES: Final = 1_000_000  # large enough that a full claim is a few batches a partition, not hundreds
_WEEK_MS: Final = 7 * 24 * 3600 * 1000


def max_record_bytes(max_event_bytes: int) -> int:
    """Return the largest record, and so the topic's limit, that an event of `max_event_bytes` can become.

    Percent-encoding makes three bytes of one.
    """
    return max(_MIN_BATCH_BYTES, 3 * max_event_bytes + BATCH_OVERHEAD_BYTES)


async def ensure_topics(bootstrap_servers: str, *, partitions: int, replication: int, max_event_bytes: int) -> None:
    """Create the topics that are missing; existing ones stay as they are. Raises KafkaUnavailable."""
    limits = {"max.message.bytes": str(max_record_bytes(max_event_bytes)), "retention.ms": str(_WEEK_MS)}
    # A dead letter holds the original bytes and must be there long after the events around it.
    wanted = [
        NewTopic(names.EVENTS_TOPIC, partitions, replication, topic_configs=limits),
        NewTopic(
            names.DEAD_LETTER_TOPIC,
            1,
            replication,
            topic_configs={**limits, "retention.ms": str(4 * _WEEK_MS)},
        ),
    ]
    try:
        async with _admin(bootstrap_servers) as admin:
            answer = await admin.create_topics(wanted)
    except (KafkaError, OSError) as error:
        raise unavailable(error) from error
    for topic, code, *_ in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise KafkaUnavailable(f"topic {topic} could not be made: {for_code(code).__name__}")


async def delete_records(bootstrap_servers: str, topic: str, before: Mapping[int, int]) -> bool:
    """Delete the records of each partition that lie before an offset: no reader gets them any more.

    False when the broker has no such request. Raises KafkaUnavailable. Their bytes stay on the broker's disk until the
    segment that holds them is closed and removed.
    """
    wanted = {TopicPartition(topic, partition): RecordsToDelete(offset) for partition, offset in before.items()}
    try:
        async with answer_in_time(), _admin(bootstrap_servers) as admin:
            await admin.delete_records(wanted)
    except KafkaUnavailable as error:
        if isinstance(error.__cause__, IncompatibleBrokerVersion | UnsupportedVersionError):
            return False
        raise
    return True


@contextlib.asynccontextmanager
async def _admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


class TopicOffsets:
    """Reads how far a topic has come, without joining any group. Use it as an async context manager.

    It connects on the first question, and again after each failure.
    """

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._clients: tuple[AIOKafkaAdminClient, AIOKafkaConsumer] | None = None

    async def __aenter__(self) -> Self:
        """Return the reader; nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._disconnect()

    async def ends(self) -> dict[int, int]:
        """Return the offset after the last record of each partition.

        Raises KafkaUnavailable, also when there is no such topic.
        """
        try:
            async with answer_in_time():
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
            # The consumer's own view of the cluster holds topics that it is subscribed to, and to read their ends it
            # need not be: so the partitions come from the other.
            consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap_servers)
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
