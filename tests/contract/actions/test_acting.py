"""Each event is acted on once, on a real Redis, a real broker and a real Celery worker."""

import asyncio
import json
import signal
import statistics
import sys
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.kafka import KafkaBroker
from services.backbone import names
from services.consumers.store.actions import MOST_STARTS
from services.consumers.worker.acting import ActionConsumer
from tests.contract.actions.acting_bench import TIME_LIMIT_S, ActingBench, ProofProcess, eventually
from tests.contract.actions.proof import NAME

MOST_P95_S = 2.0
VALUE = {"nested": [1, {"text": "Köln ☕ \\ \" '"}], "large": 2**63 - 1, "none": None, "empty": ""}


async def acted_on(bench: ActingBench, count: int, *, limit_s: float = 60.0) -> None:
    """Wait until so many actions have had an effect."""

    async def condition() -> bool:
        return len(await bench.effects()) >= count

    await eventually(condition, limit_s=limit_s)


async def died(bench: ActingBench, count: int = 1, *, limit_s: float = 60.0) -> None:
    async def condition() -> bool:
        return len(await bench.dead()) >= count

    await eventually(condition, limit_s=limit_s)


async def finished(consumer: ActionConsumer) -> None:
    """Wait until the consumer has no unfinished action."""

    async def condition() -> bool:
        return consumer._flights.oldest_s(time.monotonic()) == 0.0

    await eventually(condition)


@pytest.mark.usefixtures("proof_worker")
async def test_each_event_is_acted_on_once_and_committed(acting_bench: ActingBench) -> None:
    await acting_bench.produce(range(200))
    await acting_bench.produce(range(100, 150))  # the same events again
    async with acting_bench.consuming() as consumer:
        await acted_on(acting_bench, 200)
        await finished(consumer)
    assert set((await acting_bench.effects()).values()) == {1}
    assert await acting_bench.committed() == 250
    assert await acting_bench.dead() == []


@pytest.mark.usefixtures("proof_worker")
async def test_failed_attempt_is_retried(acting_bench: ActingBench) -> None:
    await acting_bench.produce(range(5), do="fail_once")
    overview = acting_bench.store.overview
    async with acting_bench.consuming(ACTIONS_BACKOFF_S="2") as consumer:

        async def all_fail() -> bool:
            (state,) = await overview.states([NAME])
            return (state.consumers, state.in_flight, state.failing, state.done) == (1, 5, 5, 0)

        await eventually(all_fail)
        await acted_on(acting_bench, 5)
        await finished(consumer)
    (state,) = await overview.states([NAME])
    assert (state.consumers, state.failing, state.done, state.dead) == (0, 0, 5, 0)
    assert set((await acting_bench.effects()).values()) == {1}
    assert await acting_bench.committed() == 5


@pytest.mark.usefixtures("proof_worker")
async def test_action_dies_after_all_attempts_and_its_offset_is_committed(acting_bench: ActingBench) -> None:
    await acting_bench.produce([1], do="fail")
    async with acting_bench.consuming() as consumer:
        await died(acting_bench)
        await finished(consumer)
    (letter,) = await acting_bench.dead()
    assert (letter.handler, letter.reason, letter.attempts) == ("proof", "ValueError: no 1", 5)
    assert 'raise ValueError(f"no {arguments.number}")' in letter.traceback
    assert json.loads(letter.arguments) == {"number": "1", "do": "fail", "seconds": 0.0, "value": None}
    assert await acting_bench.begun(1) == 5
    assert await acting_bench.committed() == 1
    (state,) = await acting_bench.store.overview.states([NAME])
    assert (state.failing, state.done, state.dead) == (0, 0, 1)


@pytest.mark.usefixtures("proof_worker")
async def test_refused_action_dies_at_once(acting_bench: ActingBench) -> None:
    await acting_bench.produce([1], do="refuse")
    async with acting_bench.consuming():
        await died(acting_bench)
    assert await acting_bench.begun(1) == 1


@pytest.mark.usefixtures("proof_worker")
async def test_retried_action_has_equal_arguments_and_one_effect(acting_bench: ActingBench) -> None:
    await acting_bench.produce([1], do="refuse", value=json.dumps(VALUE))
    async with acting_bench.consuming() as consumer:
        await died(acting_bench)
        await finished(consumer)
        (letter,) = await acting_bench.dead()
        assert json.loads(letter.arguments)["value"] == VALUE
        assert [await acting_bench.store.dead.retry([letter], by="test") for _ in range(3)] == [1, 0, 0]
        await died(acting_bench)  # it is refused again, and lies in the list with its arguments
        await finished(consumer)
        (again,) = await acting_bench.dead()
        assert acting_bench.metric(consumer, "dead_again_total") == 1
    assert again.arguments == letter.arguments
    assert await acting_bench.begun(1) == 2


async def test_retried_actions_leave_room_for_events_and_are_sent_by_one_member(acting_bench: ActingBench) -> None:
    for number in range(20):
        await acting_bench.redis.hset(names.retried_actions_key(NAME), f"id-{number}", '{"number": "0"}')
    async with (
        acting_bench.consuming(ACTIONS_IN_FLIGHT="10") as one,
        acting_bench.consuming(ACTIONS_IN_FLIGHT="10") as two,
    ):
        consumers = (one, two)

        async def are_shared() -> bool:
            return all(consumer._marks for consumer in consumers)

        await eventually(are_shared)
        await acting_bench.produce(range(60))

        async def are_full() -> bool:
            return all(consumer._flights.in_flight == 10 for consumer in consumers)

        await eventually(are_full)
        await asyncio.sleep(2)  # they look for retried actions every second
        assert sorted(consumer._flights.retried for consumer in consumers) == [0, 5]


@pytest.mark.slow
@pytest.mark.usefixtures("proof_worker")
async def test_thousand_retried_twice_at_once_have_a_thousand_effects(acting_bench: ActingBench) -> None:
    await acting_bench.produce(range(1000), do="refuse_once", value=json.dumps(VALUE))
    async with acting_bench.consuming() as consumer:
        await died(acting_bench, 1000)
        await finished(consumer)
        dead_letters = await acting_bench.dead()
        retries = [acting_bench.store.dead.retry(dead_letters, by=by) for by in ("one", "two")]
        assert sum(await asyncio.gather(*retries)) == 1000
        await acted_on(acting_bench, 1000)
        await finished(consumer)
    assert set((await acting_bench.effects()).values()) == {1}
    assert all(value == VALUE for value in await acting_bench.values())
    (state,) = await acting_bench.store.overview.states([NAME])
    assert (state.done, state.dead, state.retried) == (1000, 0, 0)
    assert (await acting_bench.store.overview.ends([NAME]))[NAME, "dead"] == 1000


@pytest.mark.usefixtures("proof_worker")
async def test_outage_of_the_dependency_is_no_attempt(acting_bench: ActingBench) -> None:
    await acting_bench.set_away(is_away=True)
    await acting_bench.produce(range(40))
    async with acting_bench.consuming(ACTIONS_IN_FLIGHT="10") as consumer:

        async def is_away() -> bool:
            return consumer._condition.away is not None

        await eventually(is_away)
        with pytest.raises(RuntimeError, match="away"):
            await consumer.check_dependency()
        await asyncio.sleep(3)  # longer than all attempts of an action would take
        assert consumer._flights.in_flight == 10
        begun = sum([await acting_bench.begun(number) for number in range(40)])
        assert begun < 30  # a probe now and then
        await acting_bench.set_away(is_away=False)
        await acted_on(acting_bench, 40)
        await finished(consumer)
    assert set((await acting_bench.effects()).values()) == {1}
    assert await acting_bench.dead() == []


@pytest.mark.usefixtures("proof_worker")
async def test_request_that_always_times_out_dies_while_others_succeed(acting_bench: ActingBench) -> None:
    await acting_bench.produce([1], do="time_out")
    async with acting_bench.consuming() as consumer:
        number = 10
        while not await acting_bench.dead():
            await acting_bench.produce([number])
            number += 1
            await acted_on(acting_bench, number - 10)
        await finished(consumer)
    (letter,) = await acting_bench.dead()
    assert (letter.reason, letter.attempts) == ("ServiceUnavailable: away", 5)
    assert await acting_bench.committed() == number - 9


async def test_redis_emptied_runs_unfinished_actions_again(
    acting_bench: ActingBench, environ: dict[str, str], tmp_path: Path
) -> None:
    await acting_bench.produce(range(20))
    worker = ProofProcess(environ, tmp_path)
    async with acting_bench.consuming() as consumer:

        async def all_queued() -> bool:
            return sum((await acting_bench.store.overview.queue_lengths(["proof"])).values()) == 20

        await eventually(all_queued)
        await acting_bench.redis.flushdb()
        worker.start()
        await acted_on(acting_bench, 20)
        await finished(consumer)
    worker.process.stop()
    assert set((await acting_bench.effects()).values()) == {1}
    assert await acting_bench.committed() == 20


@pytest.mark.usefixtures("proof_worker")
async def test_next_member_continues_at_the_low_water_mark(acting_bench: ActingBench) -> None:
    await acting_bench.produce(range(30))
    await acting_bench.produce([100], seconds=1.5)
    await acting_bench.produce(range(200, 230))
    async with acting_bench.consuming():
        await acted_on(acting_bench, 60)
    assert await acting_bench.committed() <= 60
    async with acting_bench.consuming() as consumer:

        async def all_committed() -> bool:
            return await acting_bench.committed() == 61

        await eventually(all_committed)
        await finished(consumer)
    assert set((await acting_bench.effects()).values()) == {1}
    assert len(await acting_bench.effects()) == 61


@pytest.mark.usefixtures("proof_worker")
async def test_actions_continue_over_a_rebalance(acting_bench: ActingBench) -> None:
    async with acting_bench.consuming() as first:
        await acting_bench.produce(range(100), seconds=0.02)
        await acted_on(acting_bench, 10)
        await acting_bench.set_away(is_away=True)
        async with acting_bench.consuming() as second:

            async def are_shared() -> bool:
                return bool(second._marks)

            await eventually(are_shared)
            await acting_bench.set_away(is_away=False)
            while len(await acting_bench.effects()) < 100:
                assert acting_bench.is_balanced(first)
                assert acting_bench.is_balanced(second)
            await finished(first)
            await finished(second)
            assert acting_bench.metric(first, "dropped_total") > 0
            assert acting_bench.metric(first, "unfinished") == acting_bench.metric(second, "unfinished") == 0

            async def all_committed() -> bool:
                return await acting_bench.committed() == 100

            await eventually(all_committed)  # a member that leaves during a rebalance can't commit
    assert set((await acting_bench.effects()).values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize(("do", "reason"), [("kill", "worker lost 3 times"), ("block", "time limit 3 times")])
@pytest.mark.usefixtures("proof_worker")
async def test_action_that_ends_no_start_dies_after_three_and_delays_nobody(
    acting_bench: ActingBench, do: str, reason: str
) -> None:
    async with acting_bench.consuming() as consumer:
        await acting_bench.produce([1], do=do, seconds=60)
        took_s: list[float] = []
        number = 10
        while not await acting_bench.dead():
            began_s = time.monotonic()
            await acting_bench.produce([number])
            number += 1
            await acted_on(acting_bench, number - 10)
            took_s.append(time.monotonic() - began_s)
        await finished(consumer)
    (letter,) = await acting_bench.dead()
    assert letter.reason == reason
    assert ("time.sleep(arguments.seconds)" in letter.traceback) == (do == "block"), "it shows where the action hangs"
    assert await acting_bench.begun(1) == MOST_STARTS
    assert statistics.quantiles(took_s, n=20)[-1] < MOST_P95_S, took_s
    assert set((await acting_bench.effects()).values()) == {1}
    assert await acting_bench.committed() == number - 9


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize(("limit_s", "action_s"), [(16, 12), pytest.param(30, 24, marks=pytest.mark.endurance)])
async def test_action_interrupted_by_a_stop_ends_on_another_worker(
    acting_bench: ActingBench, environ: dict[str, str], tmp_path: Path, limit_s: int, action_s: int
) -> None:
    longer = environ | {
        "ACTIONS_TIME_LIMIT_S": str(limit_s),
        "ACTIONS_SOFT_TIME_LIMIT_S": str(limit_s - 2),
        "ACTIONS_VISIBILITY_TIMEOUT_S": str(4 * limit_s),
    }
    first, second = ProofProcess(longer, tmp_path), ProofProcess(longer, tmp_path)
    first.start()
    first.wait_until_ready()
    async with acting_bench.consuming(**longer):
        await acting_bench.produce([1], seconds=action_s)

        async def is_begun() -> bool:
            return await acting_bench.begun(1) == 1

        await eventually(is_begun)
        await asyncio.to_thread(second.start)
        await asyncio.sleep(action_s - 9)  # the stop gives the action 6 s more
        stopped_s = time.monotonic()
        first.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(first.process.wait, timeout_s=20)
        assert time.monotonic() - stopped_s < 10
        await acted_on(acting_bench, 1)
        assert time.monotonic() - stopped_s < 60
    second.process.stop()
    assert await acting_bench.effects() == {"1": 1}
    assert await acting_bench.begun(1) == 2


async def test_worker_does_not_start_when_redis_may_evict(
    environ: dict[str, str], acting_bench: ActingBench, tmp_path: Path
) -> None:
    redis: Redis = acting_bench.redis
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    worker = ProofProcess(environ, tmp_path)
    try:
        worker.start()
        assert await asyncio.to_thread(worker.process.wait, timeout_s=30) == 1
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
    assert "noeviction" in worker.process.log.read_text()


async def test_keys_of_a_worker_expire(acting_bench: ActingBench, proof_worker: ProofProcess) -> None:
    assert proof_worker.metric("push_action_worker_silent_seconds") < TIME_LIMIT_S
    redis = acting_bench.redis
    names_of_pings = [key async for key in redis.scan_iter("_kombu.*actions.ping.*")]
    assert len(names_of_pings) == 1, "two keys a worker would stay for ever"
    exchange = names_of_pings[0].removeprefix("_kombu.binding.")
    assert await redis.zscore("_kombu.binding_deadlines", exchange) is not None


async def test_invalid_event_dies_at_once_and_its_offset_is_committed(acting_bench: ActingBench) -> None:
    await acting_bench.produce([1], seconds="x")
    async with acting_bench.consuming() as consumer:
        await died(acting_bench)

        async def is_committed() -> bool:
            return await acting_bench.committed() == 1

        await eventually(is_committed)
        await finished(consumer)
    (letter,) = await acting_bench.dead()
    assert (letter.is_invalid, letter.reason) == (True, "invalid event: seconds: 'x' is not a number")
    assert json.loads(letter.arguments) == {"type": "proof", "params": "number=1&seconds=x"}


async def test_events_in_memory_are_acted_on_when_retention_removes_the_next_ones(
    acting_bench: ActingBench, kafka_broker: KafkaBroker, proof_worker: ProofProcess
) -> None:
    if kafka_broker.kind != "apache":
        pytest.skip("Tansu deletes no records")
    assert proof_worker.process.is_alive
    await acting_bench.set_away(is_away=True)
    async with acting_bench.consuming(ACTIONS_IN_FLIGHT="4") as consumer:
        await acting_bench.produce(range(30))

        async def is_full() -> bool:
            return consumer._flights.waiting > 0

        await eventually(is_full)  # so it polls no more, while its client fetches what comes next
        await acting_bench.produce(range(100, 130), seconds=0.3)
        await asyncio.sleep(1)
        await acting_bench.produce(range(200, 230))
        kept = await acting_bench.delete_records(keep=2)
        await acting_bench.set_away(is_away=False)
        await acted_on(acting_bench, 60 + kept)
        await finished(consumer)

        async def is_committed() -> bool:
            return await acting_bench.committed() == 90

        await eventually(is_committed)
        assert acting_bench.metric(consumer, "missed_total") == 30 - kept
        assert acting_bench.metric(consumer, "dropped_total") == 0
        assert acting_bench.is_balanced(consumer)
    effects = await acting_bench.effects()
    assert {*map(str, range(30)), *map(str, range(100, 130))} < effects.keys()
    assert set(effects.values()) == {1}


@pytest.mark.measures
@pytest.mark.slow
async def test_rate_of_one_process(
    acting_bench: ActingBench, environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = ProofProcess(environ | {"ACTIONS_WORKER_PROCESSES": "1"}, tmp_path)
    worker.start()
    worker.wait_until_ready()
    await acting_bench.produce(range(3_000))
    async with acting_bench.consuming() as consumer:
        await acted_on(acting_bench, 100)
        began_s = time.monotonic()
        await acted_on(acting_bench, 3_000)
        rate = 2_900 / (time.monotonic() - began_s)
        await finished(consumer)
    worker.process.stop()
    with capsys.disabled():
        sys.stdout.write(f"\n{rate:.0f} actions/s in one process of a worker\n")
    assert rate > 20
