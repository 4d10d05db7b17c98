import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka.structs import ConsumerRecord
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.counters import CounterStore, Progress
from services.backbone.kafka import RecordBatch, Topic
from services.consumers.handlers import HANDLERS
from services.consumers.metrics import Metrics
from services.consumers.settings import Settings
from services.consumers.worker import StatisticsConsumer


class Member:
    """Replaces the Kafka client, because a test can't make the real client fetch late."""

    def __init__(self) -> None:
        self.committed: dict[int, int] = {}
        self.with_position = {0, 1}

    async def topic(self) -> Topic:
        return Topic(None, 2)

    def positioned(self) -> set[int]:
        return set(self.with_position)

    def reset_position(self, partitions: Iterable[int]) -> None:
        self.with_position -= set(partitions)

    async def end_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 100)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        self.committed = dict(offsets)


def batch(partition: int, first: int, ids: Sequence[object]) -> RecordBatch:
    """Return a batch of events with these ids. An event whose id is None has no id."""
    records = [
        ConsumerRecord("events", partition, first + at, 0, 0, None, b"a id=%s -" % _encoded(id_), None, 0, 8, ())
        for at, id_ in enumerate(ids)
    ]
    return RecordBatch(first, first + len(ids), records)


def _encoded(id_: object) -> bytes:
    return b"" if id_ is None else str(id_).encode()


async def test_counted_offset_is_committed_when_fetches_are_ahead(clean_redis: LocalRedis) -> None:
    registry = CollectorRegistry()
    async with Redis.from_url(clean_redis.url, decode_responses=True) as redis:
        store = CounterStore(redis)
        await store.begin("event_counter", 0, at=10)
        await store.begin("event_counter", 1, at=20)
        settings = Settings.from_env({})
        consumer = StatisticsConsumer(HANDLERS["event_counter"], settings, store, Metrics(registry))
        member: Any = Member()
        assert await consumer._positions([0, 1]) == {0: 10, 1: 20}

        # Records that a late fetch holds have not reached the loop yet. No update contains them.
        await consumer._write(member, {0: batch(0, first=10, ids=range(5))})
        await consumer._observe(member)
        assert member.committed == {0: 15, 1: 20}
        assert (
            registry.get_sample_value("push_consumer_lag_events", {"consumer": "event_counter", "partition": "0"}) == 85
        )

        await consumer._write(member, {0: batch(0, first=15, ids=[5]), 1: batch(1, first=90, ids=[6])})
        await consumer._observe(member)
        assert member.committed == {0: 16}  # the update of partition 1 was rejected, so its position is reset


async def test_duplicates_are_dropped_and_reported_and_positions_move_past_them(clean_redis: LocalRedis) -> None:
    registry = CollectorRegistry()
    async with Redis.from_url(clean_redis.url, decode_responses=True) as redis:
        store = CounterStore(redis)
        for partition in (0, 1):
            await store.begin("event_counter", partition, at=0)
        settings = Settings.from_env({})
        consumer = StatisticsConsumer(HANDLERS["event_counter"], settings, store, Metrics(registry))
        member: Any = Member()
        await consumer._write(member, {0: batch(0, 0, [1, 2, 1, None, None])})
        await consumer._write(member, {0: batch(0, 5, [3, 2, 4, None]), 1: batch(1, 0, [1, 4, 5, 5])})
        assert await store.counts("event_counter") == {"a": 8}
        progress = await store.progress("event_counter")
        assert (progress.events, progress.duplicates) == (8, 5)
        assert await store.positions("event_counter") == {0: 9, 1: 4}
        await consumer._observe(member)
        assert member.committed == {0: 9, 1: 4}
    for name, value in {"counted": 8, "duplicates": 5, "invalid": 0}.items():
        reported = registry.get_sample_value(f"push_consumer_events_{name}_total", {"consumer": "event_counter"})
        assert reported == value, name


# A move: the member that writes, the partition, the number of records, and whether the other member repeats the write.
moves = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(1, 12), st.booleans()), max_size=20)
topics = st.tuples(*[st.lists(st.one_of(st.none(), st.integers(0, 25)), max_size=30)] * 3)


@given(topic=topics, moves=moves, window=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_each_id_counts_once_within_the_window_for_any_order_of_writes(
    redis_server: LocalRedis,
    topic: Sequence[Sequence[int | None]],
    moves: Sequence[tuple[int, int, int, bool]],
    window: int,
) -> None:
    asyncio.run(_write_in_any_order(redis_server.url, topic, moves, window))


class WindowModel:
    """The simplest form of the rule: two generations of ids, and the order in which they were counted."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._new, self._old = set[int](), set[int]()
        self.counted: list[int] = []

    def count(self, ids: Sequence[int | None]) -> int:
        """Return how many events of a batch must be counted, and remember their ids."""
        fresh = [id_ for id_ in dict.fromkeys(ids) if id_ is not None and id_ not in self._new | self._old]
        assert not set(fresh) & set(self.counted[-self._size :]), "an id inside the window was not remembered"
        if fresh and len(self._new) + len(fresh) > self._size:
            self._new, self._old = set(), self._new
        self._new |= set(fresh)
        self.counted += fresh
        return len(fresh) + ids.count(None)


async def _write_in_any_order(
    url: str, topic: Sequence[Sequence[int | None]], moves: Sequence[tuple[int, int, int, bool]], window: int
) -> None:
    """Write `topic` in the order of the moves, then to its end, and compare each step with the model."""
    async with Redis.from_url(url, decode_responses=True) as redis:
        await redis.flushdb()
        store = CounterStore(redis)
        for partition in range(len(topic)):
            await store.begin("event_counter", partition, at=0)
        config = Settings.from_env({}).model_copy(update={"id_window_events": window})
        members = [
            StatisticsConsumer(HANDLERS["event_counter"], config, store, Metrics(CollectorRegistry())) for _ in range(2)
        ]
        kafka: Any = Member()
        model, expected = WindowModel(window), 0
        to_the_end = [(0, partition, 7, False) for partition in range(len(topic)) for _ in range(5)]
        for writer, partition, size, stale in [*moves, *to_the_end]:
            first = (await store.positions("event_counter"))[partition]
            ids = topic[partition][first : first + size]
            if not ids:
                continue
            expected += model.count(ids)
            await members[writer]._write(kafka, {partition: batch(partition, first, ids)})
            if stale:
                await members[1 - writer]._write(kafka, {partition: batch(partition, first, ids)})
            assert (await store.progress("event_counter")).events == expected
        positions = await store.positions("event_counter")
        assert [positions[partition] for partition in range(len(topic))] == [len(part) for part in topic]
        assert await store.progress("event_counter") == Progress(expected, duplicates=sum(map(len, topic)) - expected)
        assert sum((await store.counts("event_counter")).values()) == expected
