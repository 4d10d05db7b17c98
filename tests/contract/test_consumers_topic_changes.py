"""The statistics consumers while their topic is deleted, recreated or extended, and with invalid positions."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from prometheus_client import CollectorRegistry

from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.counters import Progress
from services.backbone.events import Event
from services.backbone.kafka import KafkaUnavailable
from services.consumers.handlers import HANDLERS
from services.consumers.metrics import Metrics
from services.consumers.worker import StatisticsConsumer
from tests.contract.consumer_bench import PARTITIONS, Bench, events, eventually, open_bench

COUNTER = "event_counter"
CONSUMER = {"consumer": COUNTER}
METADATA_AGE_S = 2.0


@pytest.fixture
async def bench(
    redis_server: LocalRedis, kafka_broker: KafkaBroker, unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """A bench with a topic and groups that no other test uses."""
    if kafka_broker.kind == "tansu":
        pytest.skip("Tansu deletes topics differently from Apache Kafka")
    monkeypatch.setattr(names, "EVENTS_TOPIC", unique_name[-60:])
    monkeypatch.setattr(names, "consumer_group", lambda consumer: f"{consumer}-{unique_name}")
    for module in ("consumer", "producer"):
        monkeypatch.setattr(f"services.backbone.kafka.{module}.METADATA_AGE_S", METADATA_AGE_S)
    async with open_bench(redis_server, kafka_broker) as opened:
        await opened.make_topics()
        yield opened


class Member:
    """A running consumer and its metrics."""

    def __init__(self, bench: Bench) -> None:
        self.registry = CollectorRegistry()
        self.consumer = StatisticsConsumer(HANDLERS[COUNTER], bench.settings, bench.store, Metrics(self.registry))

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"push_consumer_{name}", CONSUMER)

    async def readiness(self) -> str:
        """Return the detail of the check `partitions`, or its error."""
        try:
            return await self.consumer.check_partitions()
        except RuntimeError as error:
            return f"not ready: {error}"


@contextlib.asynccontextmanager
async def counting(bench: Bench) -> AsyncIterator[Member]:
    member = Member(bench)
    task = asyncio.create_task(member.consumer.count_forever())
    try:
        yield member
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def admin_of(bench: Bench) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bench.settings.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def delete_topic(bench: Bench) -> None:
    async with admin_of(bench) as admin:
        await admin.delete_topics([names.EVENTS_TOPIC])


async def make_topic(bench: Bench, partitions: int) -> None:
    async def made() -> bool:
        async with admin_of(bench) as admin:
            response = await admin.create_topics([NewTopic(names.EVENTS_TOPIC, partitions, 1)])
        return bool(response.topic_errors[0][1] == 0)  # rejected until the old topic is deleted

    await eventually(made)


async def produce_as_kafkastore_does(bench: Bench, batch: Sequence[Event]) -> None:
    """Produce until all records are confirmed. The consumers drop the duplicates that retries cause."""
    while True:
        try:
            return await bench.produce(batch)
        except KafkaUnavailable:
            await asyncio.sleep(0.1)


def counted(bench: Bench, wanted: Mapping[str, int]) -> Callable[[], Awaitable[bool]]:
    async def condition() -> bool:
        return await bench.store.counts(COUNTER) == wanted

    return condition


async def balanced(bench: Bench) -> Progress:
    """Check the ledger equation and return the progress."""
    progress = await bench.store.progress(COUNTER)
    positions = await bench.store.positions(COUNTER)
    left = sum(positions.values()) + progress.given_up
    assert left == progress.events + progress.invalid + progress.missed + progress.duplicates, (positions, progress)
    return progress


@pytest.mark.parametrize("partitions", [PARTITIONS, 1, PARTITIONS + 2], ids=["same number", "fewer", "more"])
async def test_topic_recreated_while_members_run_is_counted_from_its_first_offset(
    bench: Bench, partitions: int
) -> None:
    await bench.produce(events(["old"], count=300))
    async with counting(bench) as member:
        await eventually(counted(bench, {"old": 300}))
        await delete_topic(bench)
        await make_topic(bench, partitions)
        # More records than before: the old positions are inside the new topic, so no offset is out of range.
        await produce_as_kafkastore_does(bench, events(["new"], count=1200))
        await eventually(counted(bench, {"old": 300, "new": 1200}), limit_s=METADATA_AGE_S + 15)
        await eventually(lambda: holds(member, partitions))
        progress = await balanced(bench)
        assert member.metric("offsets_given_up_total") == progress.given_up
        assert progress.given_up >= 300
        assert progress.missed == 0
    assert sorted(await bench.store.positions(COUNTER)) == list(range(partitions))


async def holds(member: Member, partitions: int) -> bool:
    return (
        member.metric("partitions") == partitions
        and await member.readiness() == f"partitions {list(range(partitions))}"
    )


async def test_topic_recreated_while_no_member_runs_is_counted_from_its_first_offset(bench: Bench) -> None:
    await bench.produce(events(["old"], count=300))
    async with counting(bench):
        await eventually(counted(bench, {"old": 300}))
    await delete_topic(bench)
    await make_topic(bench, PARTITIONS)
    await produce_as_kafkastore_does(bench, events(["new"], count=300))  # every partition ends at its old position
    async with counting(bench):
        await eventually(counted(bench, {"old": 300, "new": 300}))
    assert (await balanced(bench)).given_up == 300


async def test_member_is_not_ready_without_a_topic_and_gets_partitions_when_it_is_recreated(
    bench: Bench,
) -> None:
    await bench.produce(events(["old"], count=30))
    async with counting(bench) as member:
        await eventually(counted(bench, {"old": 30}))
        await delete_topic(bench)

        async def has_noticed() -> bool:
            return member.metric("partitions") == 0

        await eventually(has_noticed)
        await eventually(lambda: without_topic(member))
        await make_topic(bench, PARTITIONS)
        made_s = time.monotonic()
        await eventually(lambda: holds(member, PARTITIONS))
        assert time.monotonic() - made_s < METADATA_AGE_S + 10
        await produce_as_kafkastore_does(bench, events(["new"], count=30))
        await eventually(counted(bench, {"old": 30, "new": 30}))
    assert (await balanced(bench)).given_up == 30


async def without_topic(member: Member) -> bool:
    try:
        return (await member.readiness()).startswith("not ready")
    except KafkaUnavailable as error:
        return "there is no topic" in str(error)


async def test_added_partitions_are_counted_within_the_metadata_age(bench: Bench) -> None:
    async with counting(bench) as member:
        await eventually(lambda: holds(member, PARTITIONS))
        async with admin_of(bench) as admin:
            await admin.create_partitions({names.EVENTS_TOPIC: NewPartitions(PARTITIONS + 3)})
        added_s = time.monotonic()
        await eventually(lambda: holds(member, PARTITIONS + 3))
        assert time.monotonic() - added_s < METADATA_AGE_S + 10
        await bench.produce(events(["a"], count=600))
        await eventually(counted(bench, {"a": 600}))
    await balanced(bench)


async def test_spare_member_is_ready_and_reports_that_it_is_spare(bench: Bench) -> None:
    async with contextlib.AsyncExitStack() as stack:
        members = [await stack.enter_async_context(counting(bench)) for _ in range(PARTITIONS + 1)]
        spare = f"spare: {PARTITIONS + 1} members share the topic's {PARTITIONS} partitions"

        async def one_is_spare() -> bool:
            states = [await member.readiness() for member in members]
            return states.count(spare) == 1 and not any(state.startswith("not ready") for state in states)

        await eventually(one_is_spare)
        assert sum(member.metric("partitions") or 0 for member in members) == PARTITIONS


@pytest.mark.parametrize("value", ["x", "", "-5", "1.5", "007", "1_0", str(2**63), "9" * 30])
async def test_invalid_position_stops_only_its_partition(bench: Bench, value: str) -> None:
    key = names.positions_key(COUNTER)
    batch = events(["a"], count=300)
    await bench.redis.hset(key, "1", value)
    async with counting(bench) as member:
        await bench.produce(batch)
        extent = await bench.extent()
        stopped = extent.ends[1]
        assert stopped
        await eventually(counted(bench, {"a": 300 - stopped}))
        assert member.metric("partitions_stopped") == 1
        readiness = await member.readiness()
        assert f'not ready: {key}: partition 1 has the invalid position "{value[:40]}".' in readiness
        # The other partitions continue meanwhile. The stopped one continues after the repair.
        await bench.produce(events(["b"], count=300))
        grown = (await bench.extent()).ends[1]
        await eventually(counted(bench, {"a": 300 - stopped, "b": 300 - (grown - stopped)}))
        await bench.redis.hset(key, "1", "0")
        await eventually(counted(bench, {"a": 300, "b": 300}))
        assert member.metric("partitions_stopped") == 0
        assert await member.readiness() == f"partitions {list(range(PARTITIONS))}"
    assert (await balanced(bench)).duplicates == 0


async def test_unknown_field_among_the_positions_is_ignored(bench: Bench) -> None:
    await bench.redis.hset(names.positions_key(COUNTER), "comment", "counted since May")
    async with counting(bench) as member:
        await bench.produce(events(["a"], count=30))
        await eventually(counted(bench, {"a": 30}))
        assert await member.readiness() == f"partitions {list(range(PARTITIONS))}"
