"""The operators' task moves an action consumer, while it runs and while it does not, on a real Redis and broker."""

import asyncio
import time

import pytest

from deploy.operate.actions_status import read_actions
from deploy.operate.endpoints import Endpoints
from deploy.operate.offset_groups import ConsumerGroup, GroupPositions, open_offsets
from deploy.operate.offset_moves import OffsetMove
from deploy.operate.offsets import apply, preview
from services.backbone import names
from tests.contract.actions import proof
from tests.contract.actions.acting_bench import ActingBench, eventually

pytestmark = pytest.mark.usefixtures("true_end_offsets")

GROUP = ConsumerGroup(proof.NAME, "proof-consumer", acts=True)


def endpoints_of(bench: ActingBench) -> Endpoints:
    url = bench.environ["ACTIONS_REDIS_URL"]
    return Endpoints("", (), url, bench.settings.bootstrap_servers, actions_url=url)


async def planned(bench: ActingBench, target: str | int, *, partition: str = "") -> list[OffsetMove]:
    now_ms = time.time_ns() // 1_000_000
    return await preview(endpoints_of(bench), bench.settings, GROUP, target, partition=partition, now_ms=now_ms)


async def moved(bench: ActingBench, target: str | int, *, partition: str = "") -> tuple[int, int]:
    """Move the group. Return how many records this repeats and skips."""
    moves = await planned(bench, target, partition=partition)
    assert await apply(endpoints_of(bench), bench.settings, GROUP, moves) == 0
    return sum(each.repeated for each in moves), sum(each.skipped for each in moves)


async def shown(bench: ActingBench) -> GroupPositions:
    async with open_offsets(endpoints_of(bench), bench.settings) as offsets:
        [found] = await offsets.read([GROUP])
        return found


async def committed(bench: ActingBench, count: int) -> None:
    async def condition() -> bool:
        found = await shown(bench)
        return sum(each.position or 0 for each in found.partitions) == count

    await eventually(condition)


async def two_batches(bench: ActingBench, first: int, second: int) -> int:
    """Produce two batches. Return the time between them in ms."""
    await bench.produce(range(first))
    await asyncio.sleep(0.05)  # records have times in ms
    between_ms = time.time_ns() // 1_000_000
    await asyncio.sleep(0.05)
    await bench.produce(range(first, first + second))
    return between_ms


async def erase_ends(bench: ActingBench) -> None:
    """Erase which actions have ended, as Redis does after 24 hours."""
    keys = [key async for key in bench.redis.scan_iter(match=names.action_state_key(proof.NAME, "*"))]
    await bench.redis.delete(*keys)


@pytest.mark.usefixtures("proof_worker")
async def test_running_consumer_repeats_exactly_the_records_since_a_time(acting_bench: ActingBench) -> None:
    between_ms = await two_batches(acting_bench, 100, 50)
    async with acting_bench.consuming():
        await committed(acting_bench, 150)
        await erase_ends(acting_bench)
        assert await moved(acting_bench, between_ms) == (50, 0)

        async def repeated() -> bool:
            return sum((await acting_bench.effects()).values()) >= 200

        await eventually(repeated)
        await committed(acting_bench, 150)
    effects = await acting_bench.effects()
    assert {number: count for number, count in effects.items() if count != 1} == {str(n): 2 for n in range(100, 150)}
    assert sum(effects.values()) == 200


@pytest.mark.usefixtures("proof_worker")
async def test_actions_that_ended_within_a_day_are_not_repeated(
    acting_bench: ActingBench, capsys: pytest.CaptureFixture[str]
) -> None:
    await acting_bench.produce(range(40))
    async with acting_bench.consuming():
        await committed(acting_bench, 40)
        assert await moved(acting_bench, "earliest") == (40, 0)
        await committed(acting_bench, 40)
    assert set((await acting_bench.effects()).values()) == {1}
    printed = capsys.readouterr().out
    assert "repeats 40 records, received from 20" in printed
    assert "whose actions run again: 0." in printed


@pytest.mark.usefixtures("proof_worker")
async def test_preview_reports_that_old_events_have_no_effect(
    acting_bench: ActingBench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deploy.operate.offsets.IGNORES_OLD_EVENTS", {proof.NAME})
    await acting_bench.produce(range(20))
    async with acting_bench.consuming():
        await committed(acting_bench, 20)
    await planned(acting_bench, "earliest")
    printed = capsys.readouterr().out
    assert "older than ACTIONS_OLDEST_S" in printed
    assert "run again" not in printed


@pytest.mark.usefixtures("proof_worker")
async def test_next_consumer_begins_after_the_skipped_records(acting_bench: ActingBench) -> None:
    await acting_bench.produce(range(80))
    assert await moved(acting_bench, "latest") == (0, 80)
    assert [each.requested for each in (await shown(acting_bench)).partitions] == [
        each.end for each in (await shown(acting_bench)).partitions
    ]
    await acting_bench.produce(range(80, 85))
    async with acting_bench.consuming():
        await committed(acting_bench, 85)
    assert (await acting_bench.effects()).keys() == {str(number) for number in range(80, 85)}
    assert [each.requested for each in (await shown(acting_bench)).partitions] == [None] * 3


@pytest.mark.usefixtures("proof_worker")
async def test_one_partition_is_moved_alone(acting_bench: ActingBench) -> None:
    await acting_bench.produce(range(60))
    async with acting_bench.consuming():
        await committed(acting_bench, 60)
        before = {each.partition: each.end for each in (await shown(acting_bench)).partitions}
        assert 0 < before[1] < 60
        await erase_ends(acting_bench)
        assert await moved(acting_bench, "earliest", partition="1") == (before[1], 0)

        async def repeated() -> bool:
            return sum((await acting_bench.effects()).values()) >= 60 + before[1]

        await eventually(repeated)
        await committed(acting_bench, 60)
    assert sum((await acting_bench.effects()).values()) == 60 + before[1]


@pytest.mark.usefixtures("proof_worker")
async def test_consumer_that_waits_for_its_dependency_is_moved(acting_bench: ActingBench) -> None:
    await acting_bench.set_away(is_away=True)
    await acting_bench.produce(range(30))
    # Most actions wait for room, so the consumer polls nothing.
    async with acting_bench.consuming(ACTIONS_IN_FLIGHT="2") as consumer:

        async def waits() -> bool:
            return consumer._flights.waiting > 0 and consumer._condition.away is not None

        await eventually(waits)
        assert await moved(acting_bench, "latest") == (0, 30)
        assert consumer._flights.waiting == 0
        await committed(acting_bench, 30)


async def test_request_that_nobody_applies_is_reported(
    acting_bench: ActingBench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deploy.operate.offsets._APPLIED_LIMIT_S", 1.0)
    await acting_bench.produce(range(10))
    async with acting_bench.consuming() as consumer:

        async def is_member() -> bool:
            return (await shown(acting_bench)).members == 1 and consumer._flights.in_flight == 10

        await eventually(is_member)  # no worker runs, so nothing is finished
        moves = await planned(acting_bench, "latest")
        consumer._settings = consumer._settings.model_copy(update={"poll_wait_s": 1.0})
        with monkeypatch.context() as deaf:
            deaf.setattr(type(consumer), "_apply_moves", _ignore)
            assert await apply(endpoints_of(acting_bench), acting_bench.settings, GROUP, moves) == 1
        printed = capsys.readouterr().out
        assert "not applied within 1 s in the partitions [0, 1, 2]" in printed.replace("\n", " ")
        assert "proof-consumer" in printed
        await committed(acting_bench, 10)  # later it is applied


async def test_status_has_the_lag_and_the_oldest_unfinished_event(
    acting_bench: ActingBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.operate.actions_status.known_groups", lambda: {proof.NAME: GROUP})
    began_ms = time.time_ns() // 1_000_000
    await acting_bench.produce(range(12))
    async with acting_bench.consuming() as consumer:  # without a worker nothing is finished

        async def is_sent() -> bool:
            return consumer._flights.in_flight == 12 and (await shown(acting_bench)).members == 1

        await eventually(is_sent)
        status = await read_actions(endpoints_of(acting_bench), has_kafka=True)
    handler = status.handlers[proof.NAME]
    assert (handler.lag, handler.queued, status.workers) == (12, 12, 0)
    assert handler.oldest_ms is not None
    assert began_ms <= handler.oldest_ms <= time.time_ns() // 1_000_000


async def _ignore(*_: object) -> None: ...
