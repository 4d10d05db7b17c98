"""The statistics consumers inside the test process count exactly while dependencies fail. Redis and Kafka are real."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.counters import ApplyResult, CounterStore, IdWindow, Progress, Update
from services.backbone.events import Event, encode_event
from services.backbone.histogram import TOTAL_LABEL, histograms
from services.backbone.kafka import Record
from services.consumers.handlers import HANDLERS
from services.consumers.metrics import Metrics
from services.consumers.worker import StatisticsConsumer
from tests.contract.consumer_bench import PARTITIONS, Bench, events, eventually, open_own_bench, running


@pytest.fixture
async def bench(
    redis_server: LocalRedis, kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    async with open_own_bench(redis_server, kafka_broker, monkeypatch) as opened:
        yield opened


@contextlib.asynccontextmanager
async def counting(
    bench: Bench,
    name: str = "event_counter",
    *,
    store: CounterStore | None = None,
    registry: CollectorRegistry | None = None,
    observe_s: float = 0.2,
) -> AsyncIterator[StatisticsConsumer]:
    metrics = Metrics(registry or CollectorRegistry())
    settings = bench.settings.model_copy(update={"lag_interval_s": observe_s})
    consumer = StatisticsConsumer(HANDLERS[name], settings, store or bench.store, metrics)
    async with running(consumer):
        yield consumer


def seen(bench: Bench, name: str = "event_counter", *, at_least: int) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return (await bench.store.progress(name)).events >= at_least

    return condition


async def test_sums_of_all_counters_equal_the_events_in_the_topic(bench: Bench) -> None:
    await bench.produce(events(["open", "offr", "close"], count=900))
    invalid = [Record(b"one two"), Record(b"a b c d"), Record(b"  "), Record(b"\xff")]
    assert await bench.producer.produce(names.EVENTS_TOPIC, invalid) == []
    async with contextlib.AsyncExitStack() as stack:
        for name in HANDLERS:
            await stack.enter_async_context(counting(bench, name))
        for name in HANDLERS:
            await eventually(seen(bench, name, at_least=900))

        async def all_done() -> bool:
            return all([(await bench.store.progress(name)).invalid == len(invalid) for name in HANDLERS])

        await eventually(all_done)

    assert await bench.store.counts("event_counter") == {"open": 300, "offr[preview]": 300, "close": 300}
    origins = await bench.store.counts("metadata_counter")
    for mark in ("(p)", "(c)", "(l)"):
        assert sum(count for label, count in origins.items() if label.startswith(mark)) == 900
    assert origins["(l) AT"] == 300
    assert origins["(c) 192.0.2.3"] == 180
    searched = await bench.store.counts("search_counter")
    assert set(searched) == {f"sofa {number}" for number in range(4)}
    assert sum(searched.values()) == 300
    timing = await bench.store.counts("timing_stats")
    assert timing[TOTAL_LABEL] == 900
    assert {series: histogram.values for series, histogram in histograms(timing).items()} == {"klag": 900, "tsavg": 900}
    assert histograms(timing)["klag"].average_ms == pytest.approx(149.5)
    assert [description.name for description in await bench.store.descriptions()] == sorted(HANDLERS)
    for name in HANDLERS:
        progress = await bench.store.progress(name)
        assert progress._replace(last_received_ms=0) == Progress(events=900, invalid=len(invalid))
        assert sum((await bench.store.positions(name)).values()) == 900 + len(invalid)
        assert abs(progress.last_received_ms - time.time() * 1000) < 60_000


async def test_batch_is_not_counted_again_when_another_member_has_counted_it(bench: Bench) -> None:
    registry = CollectorRegistry()
    # The consumer must not notice the move before it counts the next batch.
    async with counting(bench, registry=registry, observe_s=60):
        await bench.produce(events(["a"], count=300))
        await eventually(seen(bench, at_least=300))
        # Move the positions without the consumer, as another member does after a rebalance that it has not noticed yet.
        positions = await bench.store.positions("event_counter")
        moved = [
            await bench.store.move_position("event_counter", p, expected=at, to=at + 10) for p, at in positions.items()
        ]
        assert all(moved)
        await bench.produce(events(["b"], count=300))
        await eventually(seen(bench, at_least=600 - 10 * PARTITIONS))
    assert await bench.store.counts("event_counter") == {"a": 300, "b": 300 - 10 * PARTITIONS}
    assert registry.get_sample_value("push_consumer_batches_refused_total", {"consumer": "event_counter"})


async def test_counter_is_rebuilt_from_the_topic_when_redis_loses_its_data(bench: Bench) -> None:
    async with counting(bench):
        await bench.produce(events(["a", "b"], count=600))
        await eventually(seen(bench, at_least=600))
        await bench.redis.flushdb()
        await bench.produce(events(["c"], count=60))
        await eventually(seen(bench, at_least=660))
    assert await bench.store.counts("event_counter") == {"a": 300, "b": 300, "c": 60}


def passed(bench: Bench, count: int, name: str = "event_counter") -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return (await bench.store.progress(name)).passed >= count

    return condition


async def test_duplicates_are_dropped_across_batches_partitions_restart_and_rebalance(bench: Bench) -> None:
    chance = random.Random(3)
    first, second, third = (events(types, count=300) for types in (["a"], ["b"], ["c"]))

    async def produce_shuffled(*batches: Sequence[Event]) -> None:
        mixed = [event for batch in batches for event in batch]
        chance.shuffle(mixed)
        await bench.produce(mixed)

    async with counting(bench):
        await produce_shuffled(first, first)
        await eventually(passed(bench, 600))
        await produce_shuffled(first, second)
        await eventually(passed(bench, 1200))
    await produce_shuffled(first, second)
    registries = [CollectorRegistry(), CollectorRegistry()]
    async with counting(bench, registry=registries[0]) as one:
        await eventually(passed(bench, 1800))
        async with counting(bench, registry=registries[1]) as other:
            # Both members own partitions now, so each receives duplicates of events that the other counts.
            await eventually(lambda: each_has_a_share(one, other))
            for _ in range(3):
                await produce_shuffled(first, second, third, third)
            await eventually(passed(bench, 1800 + 3 * 1200))
    assert await bench.store.counts("event_counter") == {"a": 300, "b": 300, "c": 300}
    progress = await bench.store.progress("event_counter")
    assert progress._replace(last_received_ms=0) == Progress(events=900, duplicates=4500)
    assert sum((await bench.store.positions("event_counter")).values()) == progress.passed
    consumer = {"consumer": "event_counter"}
    reported = [registry.get_sample_value("push_consumer_events_duplicates_total", consumer) for registry in registries]
    assert all(reported)
    assert sum(share or 0 for share in reported) == 600 * 2 // 2 + 3 * 1200 - 300


async def each_has_a_share(*members: StatisticsConsumer) -> bool:
    shares = [member._kafka.positioned() if member._kafka else set() for member in members]
    return all(shares) and sum(map(len, shares)) == PARTITIONS


async def test_id_is_read_from_header_or_meta_and_event_without_one_always_counts(bench: Bench) -> None:
    (event,) = events(["a"], count=1)
    with_meta = Record(encode_event(event), b"device")
    with_header = Record(b"b ts=1 -", b"device", ((names.HEADER_EVENT_ID, event.id.encode()),))
    without = Record(b"c ts=1 -", b"device")
    async with counting(bench):
        await bench.producer.produce(names.EVENTS_TOPIC, [with_meta, without])
        await eventually(passed(bench, 2))
        await bench.producer.produce(names.EVENTS_TOPIC, [with_header, without, with_meta, without])
        await eventually(passed(bench, 6))
    assert await bench.store.counts("event_counter") == {"a": 1, "c": 3}
    assert (await bench.store.progress("event_counter")).duplicates == 2


async def test_claimed_ids_do_not_suppress_events_of_other_senders(bench: Bench) -> None:
    batch = events(["order"], count=300)
    claims = [
        Record(encode_event(replace(event, type="claim")), b"stranger", ((names.HEADER_EVENT_ID, event.id.encode()),))
        for event in batch
    ]
    real = [Record(encode_event(event), b"device-%d" % (at % 50)) for at, event in enumerate(batch)]
    async with counting(bench):
        await bench.producer.produce(names.EVENTS_TOPIC, claims)
        await eventually(passed(bench, 300))
        await bench.producer.produce(names.EVENTS_TOPIC, [*real, *real])
        await eventually(passed(bench, 900))
    assert await bench.store.counts("event_counter") == {"claim": 300, "order": 300}
    assert (await bench.store.progress("event_counter")).duplicates == 300


async def test_all_counters_drop_the_same_duplicates(bench: Bench) -> None:
    batch = events(["open", "offr"], count=300)
    await bench.produce([*batch, *batch])
    async with contextlib.AsyncExitStack() as stack:
        for name in HANDLERS:
            await stack.enter_async_context(counting(bench, name))
        for name in HANDLERS:
            await eventually(passed(bench, 600, name))
    for name in HANDLERS:
        progress = await bench.store.progress(name)
        assert progress._replace(last_received_ms=0) == Progress(events=300, duplicates=300), name
    assert sum((await bench.store.counts("search_counter")).values()) == 150
    timing = await bench.store.counts("timing_stats")
    assert {series: histogram.values for series, histogram in histograms(timing).items()} == {"klag": 300, "tsavg": 300}


async def test_each_id_counts_once_more_when_redis_loses_its_data(bench: Bench) -> None:
    batch = events(["a", "b"], count=300)
    async with counting(bench):
        await bench.produce([*batch, *batch])
        await eventually(passed(bench, 600))
        await bench.redis.flushdb()
        await bench.produce(batch)
        await eventually(passed(bench, 900))
    assert await bench.store.counts("event_counter") == {"a": 150, "b": 150}


_WINDOW = IdWindow()


class UnreliableStore(CounterStore):
    """Loses the request or the response of a third of the writes."""

    def __init__(self, redis: Redis, chance: random.Random) -> None:
        super().__init__(redis)
        self._chance = chance

    async def apply(
        self, counter: str, updates: Sequence[Update], *, max_labels: int, window: IdWindow = _WINDOW
    ) -> ApplyResult:
        fate = self._chance.choice(["request lost", "response lost", "fine", "fine", "fine", "fine"])
        if fate == "request lost":
            raise RedisConnectionError(fate)
        outcome = await super().apply(counter, updates, max_labels=max_labels, window=window)
        if fate == "response lost":
            raise RedisConnectionError(fate)
        return outcome


async def test_sums_are_exact_when_requests_or_responses_of_writes_are_lost(bench: Bench) -> None:
    store = UnreliableStore(bench.redis, random.Random(7))
    async with counting(bench, store=store):
        for _ in range(5):
            batch = events(["a", "b"], count=600)
            await bench.produce([*batch, *batch[:100]])
        await eventually(passed(bench, 3500))
    assert await bench.store.counts("event_counter") == {"a": 1500, "b": 1500}
    assert sum((await bench.store.positions("event_counter")).values()) == 3500


async def test_consumer_raises_when_redis_stays_down_longer_than_give_up_s(bench: Bench) -> None:
    unreachable = Redis.from_url("redis://127.0.0.1:1/0", decode_responses=True)
    impatient = bench.settings.model_copy(update={"give_up_s": 0.3})
    consumer = StatisticsConsumer(
        HANDLERS["event_counter"], impatient, CounterStore(unreachable), Metrics(CollectorRegistry())
    )
    with pytest.raises(RedisConnectionError):
        await asyncio.wait_for(consumer.count_forever(), timeout=30)
    await unreachable.aclose()


async def test_position_past_the_end_is_reset_to_the_first_offset(bench: Bench) -> None:
    if bench.has_tansu:
        pytest.skip("Tansu returns no records for a fetch past the end; Kafka returns OFFSET_OUT_OF_RANGE")
    await bench.produce(events(["a"], count=300))
    for partition in range(PARTITIONS):
        await bench.store.begin("event_counter", partition, at=1_000_000)
    async with counting(bench):
        await eventually(seen(bench, at_least=300))
    assert await bench.store.counts("event_counter") == {"a": 300}
    assert (await bench.store.progress("event_counter")).missed == 0


async def test_offsets_removed_by_retention_are_counted_as_missed(bench: Bench) -> None:
    if bench.has_tansu:
        pytest.skip("Tansu deletes no records")
    await bench.produce(events(["a"], count=300))
    for partition in range(PARTITIONS):
        await bench.store.begin("event_counter", partition, at=0)
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
    await admin.start()
    before = {TopicPartition(names.EVENTS_TOPIC, p): RecordsToDelete(before_offset=20) for p in range(PARTITIONS)}
    await admin.delete_records(before)
    await admin.close()
    registry = CollectorRegistry()
    async with counting(bench, registry=registry):
        await eventually(seen(bench, at_least=300 - 20 * PARTITIONS))
    progress = await bench.store.progress("event_counter")
    assert (progress.events, progress.missed) == (300 - 20 * PARTITIONS, 20 * PARTITIONS)
    assert sum((await bench.store.positions("event_counter")).values()) == progress.events + progress.missed
    missed = registry.get_sample_value("push_consumer_offsets_missed_total", {"consumer": "event_counter"})
    assert missed == 20 * PARTITIONS


async def test_lag_is_exported_and_positions_are_committed_for_lag_tools(bench: Bench) -> None:
    registry = CollectorRegistry()
    await bench.produce(events(["a"], count=300))

    async def committed() -> int:
        group = AIOKafkaConsumer(
            bootstrap_servers=bench.settings.bootstrap_servers, group_id=names.consumer_group("event_counter")
        )
        await group.start()
        offsets = [
            await group.committed(TopicPartition(names.EVENTS_TOPIC, partition)) for partition in range(PARTITIONS)
        ]
        await group.stop()
        return sum(offset or 0 for offset in offsets)

    async def caught_up() -> bool:
        return await committed() == 300

    async def no_lag() -> bool:
        labels = [{"consumer": "event_counter", "partition": str(partition)} for partition in range(PARTITIONS)]
        return [registry.get_sample_value("push_consumer_lag_events", label) for label in labels] == [0, 0, 0]

    async with counting(bench, registry=registry) as consumer:
        await eventually(caught_up)
        await eventually(no_lag)
        assert await consumer.check_kafka() == ""
        assert await consumer.check_partitions() == f"partitions {list(range(PARTITIONS))}"
        await consumer.heartbeat.check()
