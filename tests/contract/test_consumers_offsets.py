"""The operators' task moves a statistics consumer, whose positions are in Redis, while it runs. Redis and Kafka are
real."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.redis import LocalRedis
from deploy.operate.endpoints import Endpoints
from deploy.operate.offset_groups import known_groups, open_offsets
from deploy.operate.offset_moves import OffsetMove
from deploy.operate.offsets import apply, preview
from services.backbone import names
from services.backbone.counters import Progress
from services.consumers.handlers import HANDLERS
from services.consumers.metrics import Metrics
from services.consumers.worker import StatisticsConsumer
from tests.contract.consumer_bench import PARTITIONS, Bench, events, eventually, open_own_bench, running
from tests.contract.kafkastore_bench import command_line

pytestmark = pytest.mark.usefixtures("true_end_offsets")

NAME = "event_counter"
GROUP = known_groups()[NAME]


@pytest.fixture
async def bench(
    redis_server: LocalRedis, kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    async with open_own_bench(redis_server, kafka_broker, monkeypatch) as opened:
        yield opened


@contextlib.asynccontextmanager
async def counting(bench: Bench) -> AsyncIterator[None]:
    consumer = StatisticsConsumer(HANDLERS[NAME], bench.settings, bench.store, Metrics(CollectorRegistry()))
    async with running(consumer):
        yield


async def passed(bench: Bench, offsets: int) -> None:
    """Wait until so many offsets are passed, repeated ones included."""

    async def condition() -> bool:
        return (await bench.store.progress(NAME)).passed >= offsets

    await eventually(condition)


def endpoints_of(bench: Bench) -> Endpoints:
    url = bench.environ["COUNTERS_REDIS_URL"]
    return Endpoints("", (), url, bench.settings.bootstrap_servers, actions_url=url)


async def planned(bench: Bench, target: str | int) -> list[OffsetMove]:
    now_ms = time.time_ns() // 1_000_000
    return await preview(endpoints_of(bench), bench.settings, GROUP, target, partition="", now_ms=now_ms)


async def moved(bench: Bench, target: str | int) -> tuple[int, int]:
    """Move the group. Return how many records this repeats and skips."""
    moves = await planned(bench, target)
    assert await apply(endpoints_of(bench), bench.settings, GROUP, moves) == 0
    return sum(each.repeated for each in moves), sum(each.skipped for each in moves)


async def two_batches(bench: Bench, first: int, second: int) -> int:
    """Produce two batches. Return a time in ms between their times of receipt."""
    await bench.produce(events(["open"], count=first))
    await asyncio.sleep(0.2)  # the events of a batch were received within 50 ms before it
    between_ms = time.time_ns() // 1_000_000 - 100
    await bench.produce(events(["close"], count=second))
    return between_ms


def balanced(positions: dict[int, int], progress: Progress) -> bool:
    return sum(positions.values()) + progress.given_up == progress.passed


async def test_repeated_events_are_dropped_while_their_ids_are_remembered(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    between_ms = await two_batches(bench, 100, 60)
    async with counting(bench):
        await passed(bench, 160)
        assert await moved(bench, between_ms) == (60, 0)
        await passed(bench, 220)  # the consumer notices it, although no new event arrives
        assert await bench.store.counts(NAME) == {"open": 100, "close": 60}
        progress = await bench.store.progress(NAME)
        assert (progress.duplicates, progress.given_up) == (60, 60)
        assert balanced(await bench.store.positions(NAME), progress)
    printed = capsys.readouterr().out
    assert "repeats 60 records, received from 20" in printed
    assert "event_counter remembers the ids of 160 events" in printed


async def test_repeated_events_are_counted_again_when_their_ids_are_erased(bench: Bench) -> None:
    between_ms = await two_batches(bench, 100, 60)
    async with counting(bench):
        await passed(bench, 160)
        await bench.redis.delete(names.new_ids_key(NAME), names.old_ids_key(NAME))
        assert await moved(bench, between_ms) == (60, 0)
        await passed(bench, 220)
        assert await bench.store.counts(NAME) == {"open": 100, "close": 120}


async def test_next_consumer_begins_after_the_skipped_events(bench: Bench) -> None:
    await bench.produce(events(["open"], count=90))
    assert await moved(bench, "latest") == (0, 90)
    await bench.produce(events(["close"], count=10))
    async with counting(bench):
        await passed(bench, 10)
        assert await bench.store.counts(NAME) == {"close": 10}


async def test_counted_position_that_is_moved_on_is_missed(bench: Bench) -> None:
    await bench.produce(events(["open"], count=30))
    async with counting(bench):
        await passed(bench, 30)
    await bench.produce(events(["close"], count=50))
    assert await moved(bench, "latest") == (0, 50)
    progress = await bench.store.progress(NAME)
    assert (progress.events, progress.missed) == (30, 50)
    assert balanced(await bench.store.positions(NAME), progress)


async def test_skip_that_the_consumer_has_passed_meanwhile_repeats_nothing(bench: Bench) -> None:
    await bench.produce(events(["open"], count=40))
    moves = await planned(bench, "latest")
    await bench.produce(events(["open"], count=40))
    async with counting(bench):
        await passed(bench, 80)
        assert await apply(endpoints_of(bench), bench.settings, GROUP, moves) == 0
    assert (await bench.store.progress(NAME)).given_up == 0
    assert sum((await bench.store.positions(NAME)).values()) == 80


async def test_sums_are_exact_when_the_position_moves_under_load(bench: Bench) -> None:
    chooser = random.Random(7)
    async with counting(bench):
        for _ in range(8):
            await bench.produce(events(["open"], count=100))
            async with open_offsets(endpoints_of(bench), bench.settings) as offsets:
                [found] = await offsets.read([GROUP])
                back = [
                    OffsetMove(each.partition, each.current, chooser.randint(0, each.current))
                    for each in found.partitions
                ]
                await offsets.move(GROUP, back)

        async def at_the_end() -> bool:
            return sum((await bench.store.positions(NAME)).values()) == (await bench.extent()).end

        await eventually(at_the_end)
        assert await bench.store.counts(NAME) == {"open": 800}
        progress = await bench.store.progress(NAME)
        assert progress.duplicates > 0
        assert balanced(await bench.store.positions(NAME), progress)


async def test_positions_of_all_partitions_are_shown_with_the_members(bench: Bench) -> None:
    await bench.produce(events(["open"], count=30))
    async with counting(bench):
        await passed(bench, 30)
        async with open_offsets(endpoints_of(bench), bench.settings) as offsets:
            [found] = await offsets.read([GROUP])
    assert (found.members, len(found.partitions)) == (1, PARTITIONS)
    assert sum(each.position or 0 for each in found.partitions) == 30
    assert [each.lag for each in found.partitions] == [0] * PARTITIONS


async def test_commands_show_and_plan_a_move(local_stack: LocalStack, clean_redis: LocalRedis) -> None:
    shown = await command_line(local_stack, clean_redis, "offsets.show", "--json").run()
    assert shown.code == 0
    assert {found["group"] for found in json.loads(shown.text)["groups"]} == known_groups().keys()
    words = ("--group", NAME, "--to", "2h", "--dry-run")
    assert (await command_line(local_stack, clean_redis, "offsets.set", *words).run()).code == 0
    refused = await command_line(local_stack, clean_redis, "offsets.set", "--group", NAME, "--to", "latest").run()
    assert refused.code != 0
    assert "confirm with --yes" in refused.text
