import asyncio
import contextlib
import random
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.ports import free_port
from services.backbone import names
from services.backbone.kafka import (
    EventConsumer,
    EventProducer,
    KafkaUnavailable,
    OffsetGone,
    Position,
    Record,
    TopicOffsets,
    TopicReader,
    ensure_topics,
    max_record_bytes,
    topic_plans,
)
from services.backbone.settings import KafkaSettings

PARTITIONS = 4  # the limit of the stack's topic
TOPIC = names.EVENTS_TOPIC


@pytest.fixture
def settings(local_stack: LocalStack) -> KafkaSettings:
    return KafkaSettings.from_env(local_stack.environment())


@pytest.fixture
async def producer(settings: KafkaSettings) -> AsyncIterator[EventProducer]:
    async with EventProducer(settings, request_timeout_s=3.0) as opened:
        yield opened


def consumer_from(settings: KafkaSettings, group: str, positions: Mapping[int, Position]) -> EventConsumer:
    async def ask(partitions: Sequence[int]) -> Mapping[int, Position]:
        return {partition: positions.get(partition) for partition in partitions}

    return EventConsumer(settings, topic=TOPIC, group=group, positions=ask)


async def read_written(settings: KafkaSettings, group: str, mark: bytes, count: int) -> dict[int, list[Any]]:
    """Read the topic from its beginning until `count` records with `mark` in their value have arrived. Return them by
    partition."""
    found: dict[int, list[Any]] = {}
    async with consumer_from(settings, group, {}) as consumer, asyncio.timeout(30):
        while sum(map(len, found.values())) < count:
            for partition, batch in (await consumer.poll(wait_s=0.5)).items():
                found.setdefault(partition, []).extend(record for record in batch.records if mark in record.value)
    return {partition: records for partition, records in found.items() if records}


async def test_records_of_one_key_are_in_order_in_the_partition_that_every_client_chooses(
    producer: EventProducer, settings: KafkaSettings, unique_name: str
) -> None:
    mark = unique_name.encode()
    keys = [b"device-%d" % number for number in range(20)]
    records = [Record(b"%b %d" % (mark, at), keys[at % 20], (("id", b"x"),), 1_764_000_000_000) for at in range(200)]
    assert await producer.produce(TOPIC, records) == []
    found = await read_written(settings, unique_name, mark, 200)
    for partition, written in found.items():
        for record in written:
            assert DefaultPartitioner()(record.key, list(range(PARTITIONS)), list(range(PARTITIONS))) == partition
        for key in keys:
            numbers = [int(record.value.split()[1]) for record in written if record.key == key]
            assert numbers == sorted(numbers)
    first = next(iter(found.values()))[0]
    assert dict(first.headers) == {"id": b"x"}
    assert first.timestamp == 1_764_000_000_000


async def test_too_large_records_are_returned_and_the_others_are_written(
    producer: EventProducer, settings: KafkaSettings, unique_name: str
) -> None:
    mark = unique_name.encode()
    large = mark + b"x" * max_record_bytes(settings.max_event_bytes)
    records = [Record(mark + b"a"), Record(large), Record(mark + b"b", b"key"), Record(mark + b"c", large)]
    assert await producer.produce(TOPIC, records) == [1, 3]
    found = await read_written(settings, unique_name, mark, 2)
    assert {record.value for written in found.values() for record in written} == {mark + b"a", mark + b"b"}


async def test_records_that_the_broker_rejects_are_returned_and_the_others_are_written_in_order(
    producer: EventProducer, settings: KafkaSettings, local_stack: LocalStack, unique_name: str
) -> None:
    if local_stack.kafka.kind != "apache":
        pytest.skip("this broker does not enforce max.message.bytes")
    topic = unique_name[-40:]
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "20000"})])
    await admin.close()
    dice = random.Random(5)
    small = [dice.randbytes(3000).hex().encode() for _ in range(200)]
    large = dice.randbytes(30_000)
    values = [large if at in (0, 77, 199) else small[at] for at in range(200)]
    async with producer:
        assert await producer.produce(topic, [Record(value, b"key") for value in values]) == [0, 77, 199]
        # The producer still works, although a rejection ends the sequence of an idempotent producer.
        assert await producer.produce(topic, [Record(small[0], b"key")]) == []
    async with TopicReader(settings, topic) as reader, asyncio.timeout(30):
        reader.seek({0: 0})
        found: list[bytes] = []
        while len(found) < 198:
            for batch in (await reader.poll(wait_s=0.5)).values():
                found += [record.value for record in batch.records]
    assert found == [value for value in values if value is not large] + [small[0]]


async def test_largest_event_fits(producer: EventProducer, settings: KafkaSettings, unique_name: str) -> None:
    value = unique_name.encode() + b"%00" * settings.max_event_bytes
    assert await producer.produce(TOPIC, [Record(value, b"k" * 256)]) == []


async def test_empty_list_of_records_is_no_error(producer: EventProducer) -> None:
    assert await producer.produce(TOPIC, []) == []


async def test_unreachable_cluster_raises_and_leaves_no_task() -> None:
    settings = KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"})
    before = len(asyncio.all_tasks())
    async with EventProducer(settings, request_timeout_s=1.0) as producer:
        for _ in range(5):
            with pytest.raises(KafkaUnavailable):
                await producer.produce(TOPIC, [Record(b"a")])
        with pytest.raises(KafkaUnavailable):
            await producer.check()
        assert len(asyncio.all_tasks()) == before
    with pytest.raises(KafkaUnavailable):
        await ensure_topics(settings.bootstrap_servers, topic_plans(partitions=1, replication=1, max_event_bytes=1024))


async def test_tasks_that_share_a_producer_share_its_connection(producer: EventProducer, unique_name: str) -> None:
    mark = unique_name.encode()
    before = len(asyncio.all_tasks())
    await asyncio.gather(producer.check(), *(producer.produce(TOPIC, [Record(mark)]) for _ in range(5)))
    opened = len(asyncio.all_tasks()) - before
    async with EventProducer(producer._settings) as alone:
        await alone.produce(TOPIC, [Record(mark)])
        assert len(asyncio.all_tasks()) - before <= 2 * opened


async def test_hanging_broker_raises_in_time_for_all_callers_and_leaves_no_task(
    local_stack: LocalStack, producer: EventProducer, unique_name: str
) -> None:
    mark = unique_name.encode()
    before = len(asyncio.all_tasks())
    await producer.produce(TOPIC, [Record(mark)])
    connected = len(asyncio.all_tasks())
    local_stack.kafka.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(
                *(producer.produce(TOPIC, [Record(mark)]) for _ in range(3)), return_exceptions=True
            )
        assert [type(outcome) for outcome in outcomes] == [KafkaUnavailable] * 3
        await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks()) <= before
    finally:
        local_stack.kafka.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(20):
        while True:
            try:
                assert await producer.produce(TOPIC, [Record(mark)]) == []
                break
            except KafkaUnavailable:
                continue
    assert len(asyncio.all_tasks()) <= connected


async def test_consumer_begins_at_the_position_of_its_caller(
    producer: EventProducer, settings: KafkaSettings, kafka_kind: KafkaKind, unique_name: str
) -> None:
    mark = unique_name.encode()
    await producer.produce(TOPIC, [Record(b"%b %d" % (mark, at), mark) for at in range(10)])
    [(partition, written)] = (await read_written(settings, unique_name, mark, 10)).items()
    begin = written[6].offset
    async with consumer_from(settings, f"{unique_name}-2", {partition: begin}) as consumer, asyncio.timeout(30):
        while True:
            batch = (await consumer.poll(wait_s=0.5)).get(partition)
            if batch is not None:
                break
        assert batch.first_offset == begin
        assert [record.value for record in batch.records] == [b"%b %d" % (mark, at) for at in range(6, 10)]
        assert batch.next_offset == begin + 4
        assert consumer.assigned() == set(range(PARTITIONS))
        await consumer.commit({partition: batch.next_offset})
        if kafka_kind == "apache":  # Tansu reports the offset of the first record of the last batch as the end
            assert (await consumer.end_offsets([partition]))[partition] == batch.next_offset


async def test_position_outside_the_topic_raises_offset_gone(
    settings: KafkaSettings, kafka_kind: KafkaKind, unique_name: str
) -> None:
    if kafka_kind == "tansu":
        pytest.skip("Tansu waits for such an offset and returns no error")
    async with consumer_from(settings, unique_name, {0: 10**9}) as consumer, asyncio.timeout(30):

        async def poll_on() -> None:
            while True:
                await consumer.poll(wait_s=0.5)

        with pytest.raises(OffsetGone) as gone:
            await poll_on()
    assert gone.value.positions == {0: 10**9}


async def commit_on(member: EventConsumer) -> None:
    """Poll, and commit after each poll. A worker does the same less often."""
    while True:
        await member.poll(wait_s=0.05)
        with contextlib.suppress(KafkaUnavailable):
            await member.commit(dict.fromkeys(member.positioned(), 0))


@pytest.mark.slow
async def test_group_becomes_stable_after_a_late_rebalance_while_the_leader_commits(
    settings: KafkaSettings, unique_name: str
) -> None:
    hears_after_s = 3.0  # our members send a heartbeat every 2 s, and the response reports a rebalance
    slow = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=settings.bootstrap_servers,
        group_id=unique_name,
        enable_auto_commit=False,
        heartbeat_interval_ms=int(hears_after_s * 1000),
    )
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(60):
        leader = await stack.enter_async_context(consumer_from(settings, unique_name, {}))
        committing = [asyncio.create_task(commit_on(leader))]
        await slow.start()
        stack.push_async_callback(slow.stop)
        last = await stack.enter_async_context(consumer_from(settings, unique_name, {}))
        committing.append(asyncio.create_task(commit_on(last)))
        for task in committing:
            stack.callback(task.cancel)

        def places() -> list[set[int]]:
            return [leader.positioned(), last.positioned(), {tp.partition for tp in slow.assignment()}]

        # Stable: each partition has one member for longer than a member needs to notice a rebalance.
        since, before = time.monotonic(), places()
        while time.monotonic() < since + 1.5 * hears_after_s:
            await asyncio.sleep(0.05)
            now = places()
            if now != before or sorted(at for place in now for at in place) != list(range(PARTITIONS)):
                since, before = time.monotonic(), now
        assert not any(task.done() for task in committing)


# TopicReader -------------------------------------------------------------------------------------------------------


async def read_all(reader: TopicReader, until: Mapping[int, int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    async with asyncio.timeout(30):
        while any(reader.positions()[partition] < end for partition, end in until.items()):
            for partition, batch in (await reader.poll(wait_s=0.5)).items():
                found.setdefault(partition, []).extend(batch.records)
    return found


async def test_reader_begins_at_the_given_offsets(
    producer: EventProducer, settings: KafkaSettings, unique_name: str
) -> None:
    mark = unique_name.encode()
    async with TopicReader(settings, TOPIC, max_poll_events=7) as reader:
        assert reader.partitions == tuple(range(PARTITIONS))
        reader.seek(await reader.end_offsets())
        values = [b"%b %d" % (mark, at) for at in range(100)]
        await producer.produce(TOPIC, [Record(value, b"key %d" % at) for at, value in enumerate(values)])
        written: dict[int, list[Any]] = {}
        # Count by the mark: Tansu can report end offsets that are too low, so records of earlier tests can come first.
        unread = set(values)
        async with asyncio.timeout(30):
            while unread:
                for partition, batch in (await reader.poll(wait_s=0.5)).items():
                    assert batch.first_offset == batch.records[0].offset
                    assert batch.next_offset == batch.records[-1].offset + 1
                    written.setdefault(partition, []).extend(batch.records)
                    unread -= {record.value for record in batch.records}
        ends = reader.positions()
        assert sum(record.value.startswith(mark) for records in written.values() for record in records) == len(values)
        # Seek the same reader to the middle and read again.
        partition = max(written, key=lambda number: len(written[number]))
        middle = written[partition][len(written[partition]) // 2].offset
        reader.seek({partition: middle})
        again = await read_all(reader, {partition: ends[partition]})
        assert [record.offset for record in again[partition]] == list(range(middle, ends[partition]))


async def test_reader_creates_no_group(settings: KafkaSettings, kafka_kind: KafkaKind) -> None:
    if kafka_kind == "tansu":
        pytest.skip("the client can't decode the response of Tansu")
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        before = await admin.list_consumer_groups()
        async with TopicReader(settings, TOPIC) as reader:
            reader.seek(await reader.beginning_offsets())
            await reader.poll(wait_s=0.5)
            assert await admin.list_consumer_groups() == before
    finally:
        await admin.close()


async def test_offsets_at_a_time_omit_partitions_without_a_later_record(
    producer: EventProducer, settings: KafkaSettings, unique_name: str
) -> None:
    time_ms = 1_764_000_000_000
    await producer.produce(TOPIC, [Record(unique_name.encode(), b"k", timestamp_ms=time_ms)])
    async with TopicReader(settings, TOPIC) as reader:
        begins, ends = await reader.beginning_offsets(), await reader.end_offsets()
        found = await reader.offsets_at(time_ms)
        assert found
        assert all(begins[partition] <= at <= ends[partition] for partition, at in found.items())


async def test_reader_raises_offset_gone(settings: KafkaSettings, kafka_kind: KafkaKind) -> None:
    if kafka_kind == "tansu":
        pytest.skip("Tansu returns no records for a fetch after the end, while Kafka reports an offset out of range")
    async with TopicReader(settings, TOPIC) as reader, asyncio.timeout(30):
        reader.seek({0: 10**9})

        async def poll_on() -> None:
            while True:
                await reader.poll(wait_s=0.5)

        with pytest.raises(OffsetGone) as gone:
            await poll_on()
    assert gone.value.positions == {0: 10**9}


async def test_reader_raises_without_a_cluster(settings: KafkaSettings) -> None:
    nowhere = settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with pytest.raises(KafkaUnavailable):
        await TopicReader(nowhere, TOPIC).__aenter__()


async def test_reader_raises_without_the_topic(
    settings: KafkaSettings, kafka_kind: KafkaKind, unique_name: str
) -> None:
    if kafka_kind == "tansu":
        pytest.skip("Tansu describes missing topics")
    with pytest.raises(KafkaUnavailable):
        await TopicReader(settings, unique_name).__aenter__()


async def test_first_request_returns_the_end_offsets(settings: KafkaSettings, producer: EventProducer) -> None:
    await producer.produce(TOPIC, [Record(b"x", b"key")])
    async with TopicOffsets(settings.bootstrap_servers, TOPIC) as offsets:
        ends = await offsets.ends()
    assert sorted(ends) == list(range(PARTITIONS))


async def test_topic_offsets_are_returned(
    producer: EventProducer, settings: KafkaSettings, kafka_kind: KafkaKind
) -> None:
    async with TopicOffsets(settings.bootstrap_servers, TOPIC) as offsets:
        before = await offsets.ends()
        assert set(before) == set(range(PARTITIONS))
        await producer.produce(TOPIC, [Record(b"one", b"key"), Record(b"two", b"key")])
        grown = sum((await offsets.ends()).values()) - sum(before.values())
    if kafka_kind == "apache":  # Tansu reports the offset of the first record of the last batch as the end
        assert grown == 2


async def test_missing_topic_raises(settings: KafkaSettings, kafka_kind: KafkaKind) -> None:
    if kafka_kind == "tansu":
        pytest.skip("Tansu describes missing topics, without partitions")
    async with TopicOffsets(settings.bootstrap_servers, "no.such.topic") as offsets:
        with pytest.raises(KafkaUnavailable, match=r"no\.such\.topic"):
            await offsets.ends()


async def test_offsets_are_requested_again_after_a_failure() -> None:
    async with TopicOffsets(f"127.0.0.1:{free_port()}", TOPIC) as offsets:
        for _ in range(2):
            with pytest.raises(KafkaUnavailable):
                await offsets.ends()
