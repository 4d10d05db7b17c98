"""Periodic jobs on a real Redis, with real beats and real Celery workers. Their plan has a time every two seconds."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.schedule import RunRecord, ScheduleStore
from services.consumers.store.schedule import SERVICE
from tests.contract.actions import proof
from tests.contract.actions.acting_bench import ProofProcess, environ_of, eventually

PERIOD_MS = 2000
YEARLY = {"PROOF_JOB_CRON": "0 0 1 1 *"}
START = Callable[..., ProofProcess]


@pytest.fixture
def environ(own_redis: LocalRedis, kafka_broker: KafkaBroker) -> dict[str, str]:
    return environ_of(own_redis, kafka_broker, SCHEDULE_CHECK_S="0.2", SCHEDULE_LATE_S="3")


@pytest.fixture
async def effects(environ: dict[str, str]) -> AsyncIterator[Redis]:
    async with Redis.from_url(environ["PROOF_REDIS_URL"], decode_responses=True) as redis:
        yield redis


@pytest.fixture
def start(environ: dict[str, str], tmp_path: Path) -> Iterator[START]:
    """Start processes. They are stopped after the test."""
    started: list[ProofProcess] = []

    def start(kind: str, **changed: str) -> ProofProcess:
        process = ProofProcess({**environ, **changed}, tmp_path, kind=kind)
        started.append(process)
        process.start()
        process.wait_until_ready()
        return process

    yield start
    for process in started:
        process.process.stop()


async def begun(effects: Redis) -> int:
    found: Any = await effects.lrange(proof.RUNS, 0, -1)
    return sum(each.startswith("begun") for each in found)


async def runs(schedule: ScheduleStore, result: str) -> list[RunRecord]:
    return [record for record in await schedule.runs(proof.JOB) if record.result == result]


async def wait_for(schedule: ScheduleStore, result: str, count: int = 1, *, limit_s: float = 60.0) -> None:
    async def condition() -> bool:
        return len(await runs(schedule, result)) >= count

    await eventually(condition, limit_s=limit_s)


async def wait_until_known(schedule: ScheduleStore) -> None:
    async def condition() -> bool:
        return (await schedule.state(proof.JOB)).mark_ms is not None

    await eventually(condition)


async def decided(schedule: ScheduleStore) -> list[int]:
    """Return each planned time that was run, lost or missed, ascending: a row of missed times counts in full."""
    times: list[int] = []
    for record in await schedule.runs(proof.JOB):
        if record.result == "missed":
            until_ms = record.until_ms
            times += range(record.planned_ms, until_ms + 1, PERIOD_MS)
            assert record.count == len(range(record.planned_ms, until_ms + 1, PERIOD_MS))
        elif not record.by:
            times.append(record.planned_ms)
    return sorted(times)


def assert_each_time_once(times: list[int]) -> None:
    assert times == list(range(times[0], times[-1] + 1, PERIOD_MS))


@pytest.mark.slow
async def test_two_beats_and_two_workers_run_each_planned_time_once(
    schedule: ScheduleStore, effects: Redis, start: START
) -> None:
    for kind in ("worker", "worker", "beat", "beat"):
        await asyncio.to_thread(start, kind)
    await wait_for(schedule, "done", 5)
    times = await decided(schedule)
    assert_each_time_once(times)
    assert await runs(schedule, "missed") == []
    assert await begun(effects) in (len(times), len(times) + 1)  # one may have begun meanwhile
    state = await schedule.state(proof.JOB)
    assert state.counts["done"] >= 5


@pytest.mark.slow
async def test_beat_killed_at_planned_times_and_restarted_loses_and_doubles_none(
    schedule: ScheduleStore, effects: Redis, start: START
) -> None:
    await asyncio.to_thread(start, "worker")
    beat = await asyncio.to_thread(start, "beat")
    await wait_for(schedule, "done")
    for away_s in (0.0, 0.0, 7.0):
        planned_s = 2 * (time.time() // 2 + 1)
        await asyncio.sleep(planned_s - time.time())
        await asyncio.to_thread(beat.kill)
        await asyncio.sleep(away_s)
        beat = await asyncio.to_thread(start, "beat")
        done = len(await runs(schedule, "done"))
        await wait_for(schedule, "done", done + 1)
    times = await decided(schedule)
    assert_each_time_once(times)
    assert sum(record.count for record in await runs(schedule, "missed")) >= 2  # it was away for 7 s, 3 s may be late
    assert (await schedule.state(proof.JOB)).counts["missed"] == sum(
        record.count for record in await runs(schedule, "missed")
    )
    executed = len(await runs(schedule, "done"))
    assert await begun(effects) in (executed, executed + 1)
    assert beat.metric("push_schedule_runs_total") >= executed


@pytest.mark.slow
@pytest.mark.endurance
async def test_kills_of_beats_and_workers_lose_and_double_no_planned_time(
    schedule: ScheduleStore, effects: Redis, start: START
) -> None:
    choice = random.Random(16)
    kinds = ("worker", "worker", "beat", "beat")
    processes = [await asyncio.to_thread(start, kind, PROOF_JOB_S="0.5") for kind in kinds]
    await wait_for(schedule, "done")
    kills = 0
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        await asyncio.sleep(choice.uniform(0.2, 2))
        at = choice.randrange(len(kinds))
        await asyncio.to_thread(processes[at].kill)
        processes[at] = await asyncio.to_thread(start, kinds[at], PROOF_JOB_S="0.5")
        kills += 1
    done = len(await runs(schedule, "done"))
    await wait_for(schedule, "done", done + 2)
    found = await schedule.runs(proof.JOB)
    assert_each_time_once(await decided(schedule))
    executed = sum(record.result != "missed" for record in found)
    results = Counter(record.result for record in found)
    # A worker may be killed between taking a run and its first line, and one run may have begun meanwhile.
    assert executed - results["lost"] <= await begun(effects) <= executed + 1
    print(f"\n{kills} kills, {await begun(effects)} begun, rows of the history: {dict(results)}")  # noqa: T201


@pytest.mark.slow
async def test_times_without_a_worker_are_missed_and_overdue_meanwhile(
    schedule: ScheduleStore, effects: Redis, start: START, environ: dict[str, str]
) -> None:
    worker = await asyncio.to_thread(start, "worker")
    beat = await asyncio.to_thread(start, "beat")
    await wait_for(schedule, "done")
    await asyncio.to_thread(worker.process.stop)

    async def is_overdue() -> bool:
        return await asyncio.to_thread(beat.metric, "push_schedule_overdue_seconds") > 6

    await eventually(is_overdue)
    async with Redis.from_url(environ["ACTIONS_REDIS_URL"]) as redis:
        assert (
            0 < await redis.llen(names.schedule_queue(SERVICE)) <= 20
        )  # 10, and what beat has sent since it has looked
    before = await begun(effects)
    await asyncio.to_thread(start, "worker")
    await wait_for(schedule, "missed")
    await wait_for(schedule, "done", before + 1)
    assert_each_time_once(await decided(schedule))


@pytest.mark.slow
@pytest.mark.parametrize("end", [("kill", "lost", "killed"), ("fail", "failed", "ValueError: no")])
async def test_run_that_does_not_succeed_is_shown(
    schedule: ScheduleStore, effects: Redis, start: START, end: tuple[str, str, str]
) -> None:
    do, result, note = end
    await asyncio.to_thread(start, "worker", PROOF_JOB_DO=do, **YEARLY)
    await asyncio.to_thread(start, "beat", **YEARLY)
    await wait_until_known(schedule)
    assert await schedule.request(proof.JOB, by="one")
    await wait_for(schedule, result)
    (record,) = await schedule.runs(proof.JOB)
    assert (record.result, record.by) == (result, "one")
    assert note in record.note
    assert await begun(effects) == 1
    state = await schedule.state(proof.JOB)
    assert (state.current_ms, state.counts[result]) == (None, 1)


@pytest.mark.slow
async def test_run_over_the_time_limit_fails(schedule: ScheduleStore, start: START) -> None:
    await asyncio.to_thread(start, "worker", PROOF_JOB_S="60")
    await asyncio.to_thread(start, "beat")
    await wait_for(schedule, "failed")
    assert {record.note for record in await runs(schedule, "failed")} == {"time limit"}


@pytest.mark.slow
async def test_run_now_twice_within_a_second_runs_once(schedule: ScheduleStore, effects: Redis, start: START) -> None:
    for kind in ("worker", "beat", "beat"):
        await asyncio.to_thread(start, kind, **YEARLY)
    await wait_until_known(schedule)
    asked = await asyncio.gather(*(schedule.request(proof.JOB, by=who) for who in ("one", "two")))
    assert sorted(asked) == [False, True]
    await wait_for(schedule, "done")
    await asyncio.sleep(1)
    assert not await schedule.request(proof.JOB, by="two")
    await asyncio.sleep(1)  # five checks
    assert await begun(effects) == 1


@pytest.mark.slow
async def test_paused_job_does_not_run_and_resume_does_not_make_up_for_it(
    schedule: ScheduleStore, effects: Redis, start: START
) -> None:
    await asyncio.to_thread(start, "worker")
    await asyncio.to_thread(start, "beat")
    await wait_for(schedule, "done")
    assert await schedule.pause(proof.JOB, by="one")
    paused_ms = time.time_ns() // 1_000_000
    await asyncio.sleep(0.5)  # a run that had begun before ends
    before = await begun(effects)
    await asyncio.sleep(5)
    assert await begun(effects) == before
    resumed_ms = time.time_ns() // 1_000_000
    assert await schedule.resume(proof.JOB, by="one")
    await wait_for(schedule, "done", before + 1)
    times = await decided(schedule)
    assert [ms for ms in times if paused_ms < ms <= resumed_ms] == []
    assert await runs(schedule, "missed") == []


@pytest.mark.slow
async def test_schedule_continues_after_a_restart_of_redis(
    schedule: ScheduleStore, own_redis: LocalRedis, start: START
) -> None:
    await asyncio.to_thread(start, "worker", SCHEDULE_LATE_S="30")
    await asyncio.to_thread(start, "beat")
    await wait_for(schedule, "done")
    own_redis.process.stop()
    await asyncio.sleep(3)
    own_redis.start()
    await asyncio.to_thread(own_redis.wait_ready)
    before = len(await runs(schedule, "done"))
    await wait_for(schedule, "done", before + 2)
