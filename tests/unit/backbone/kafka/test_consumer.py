import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from services.backbone.kafka import EventConsumer, KafkaUnavailable
from services.backbone.settings import KafkaSettings

FIRST = 5  # the next offset of the partition


def record(offset: int) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("events", 0, offset, 0, 0, None, b"x", None, 0, 1, ())


@pytest.fixture
async def consumer() -> AsyncIterator[EventConsumer]:
    """A member without a connection. These tests pass it the results of the client."""

    async def nowhere(_partitions: Sequence[int]) -> Mapping[int, int]:
        return {}

    member = EventConsumer(KafkaSettings.from_env({}), topic="events", group="group", positions=nowhere)
    yield member
    await member.__aexit__()


def fetched(consumer: EventConsumer, *offsets: int, position: int = 0) -> tuple[int, int] | None:
    """Position the partition and pass it these records and the client's position. Return the begin and the end of the
    batch, if it is accepted."""
    consumer._next[0] = FIRST
    batch = consumer._batch(0, [record(offset) for offset in offsets], position)
    return batch and batch[:2]


async def test_consecutive_records_are_a_batch(consumer: EventConsumer) -> None:
    assert fetched(consumer, 5, 6, 9) == (FIRST, 10)
    assert consumer.positioned() == {0}


async def test_batch_ends_after_the_offsets_without_a_record(consumer: EventConsumer) -> None:
    assert fetched(consumer, 5, 6, position=8) == (FIRST, 8)
    assert consumer._next == {0: 8}


async def test_offsets_without_a_record_seen_twice_are_an_empty_batch(consumer: EventConsumer) -> None:
    assert fetched(consumer, position=FIRST) is None
    assert consumer.positioned() == {0}
    assert fetched(consumer, position=7) is None
    assert consumer.positioned() == set()
    assert fetched(consumer, position=7) == (FIRST, 7)
    assert consumer._next == {0: 7}


async def test_gap_seen_twice_at_one_position_is_accepted(consumer: EventConsumer) -> None:
    assert fetched(consumer, 8) is None
    assert consumer.positioned() == set()
    assert fetched(consumer, 8) == (FIRST, 9)


async def test_gap_seen_before_an_assignment_is_checked_again(consumer: EventConsumer) -> None:
    assert fetched(consumer, 8) is None
    consumer._rebalance(ended=True)
    assert fetched(consumer, 8) is None
    assert fetched(consumer, 8) == (FIRST, 9)


async def test_gap_seen_before_a_reset_is_checked_again(consumer: EventConsumer) -> None:
    assert fetched(consumer, 8) is None
    consumer.reset_position([0])
    assert fetched(consumer, 8) is None
    assert fetched(consumer, 8) == (FIRST, 9)


async def test_records_before_the_position_are_not_a_gap(consumer: EventConsumer) -> None:
    assert fetched(consumer, 3, 4) is None
    assert fetched(consumer, 8) is None
    assert fetched(consumer, 8) == (FIRST, 9)


async def test_records_of_an_unpositioned_partition_are_dropped(consumer: EventConsumer) -> None:
    assert consumer._batch(0, [record(5)], 6) is None


async def test_records_of_a_late_fetch_are_dropped_after_a_reset(
    consumer: EventConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition, sought, arrived = TopicPartition("events", 0), [FIRST], asyncio.Event()

    async def asked(_partitions: Sequence[int]) -> dict[int, int]:
        return {0: sought[-1]}

    async def getmany(**_: object) -> dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]:
        await arrived.wait()
        return {partition: [record(sought[0])]}

    async def position(_: TopicPartition) -> int:
        return sought[0] + 1

    consumer._ask_positions = asked
    for name, fake in {"assignment": lambda: {partition}, "getmany": getmany, "position": position}.items():
        monkeypatch.setattr(consumer._client, name, fake)
    for name in ("seek", "resume"):
        monkeypatch.setattr(consumer._client, name, lambda *_: None)

    assert await consumer.poll(wait_s=0.01) == {}  # the fetch continues
    arrived.set()
    assert consumer._pending is not None
    await consumer._pending
    consumer.reset_position([0])
    sought.append(50)
    assert await consumer.poll(wait_s=1.0) == {}
    sought[0] = 50
    batches = await consumer.poll(wait_s=1.0)
    assert {part: batch[:2] for part, batch in batches.items()} == {0: (50, 51)}


async def test_member_has_no_partitions_and_commits_nothing_during_a_rebalance(
    consumer: EventConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The assignment that the client reports. During a rebalance it still reports the old one.
    monkeypatch.setattr(consumer._client, "assignment", lambda: {TopicPartition("events", 0)})
    assert consumer.assigned() == {0}
    consumer._rebalance(ended=False)
    assert consumer.assigned() == set()
    with pytest.raises(KafkaUnavailable, match="rebalancing"):
        await consumer.commit({0: FIRST})
    consumer._rebalance(ended=True)
    assert consumer.assigned() == {0}


async def test_leave_ends_in_time_when_the_client_ignores_cancellation(
    consumer: EventConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = asyncio.Event()

    async def ignore_cancellation(*_: object, **__: object) -> dict[TopicPartition, list[object]]:
        while not back.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await back.wait()
        return {}

    monkeypatch.setattr(consumer._client, "getmany", ignore_cancellation)
    assert await consumer.poll(wait_s=0.01) == {}
    with monkeypatch.context() as stopping:
        stopping.setattr(consumer._client, "stop", ignore_cancellation)
        begun_s = time.monotonic()
        await consumer.__aexit__()
        assert time.monotonic() - begun_s < 10
    back.set()
