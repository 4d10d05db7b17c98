import contextlib
import uuid
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.dead_actions import DeadActions
from services.backbone.schedule import ScheduleStore, ScheduleStoreError, store
from tests.clock import Clock
from tests.lost_response import lose_next_response

JOB = "one"


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000)


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def schedule(redis: Redis, clock: Clock) -> ScheduleStore:
    return ScheduleStore(redis, "tests", limit_s=30, clock=clock)


async def lose_worker(redis: Redis) -> None:
    """End the lock of the run, as its time to live does."""
    await redis.delete(names.job_running_key("tests", JOB))


async def test_planned_time_is_taken_once(schedule: ScheduleStore) -> None:
    run = await schedule.begin(JOB, 60_000)
    assert run is not None
    assert (await schedule.state(JOB)).is_running
    await schedule.end(run, "done", "noted")
    assert await schedule.begin(JOB, 60_000) is None
    state = await schedule.state(JOB)
    assert (state.mark_ms, state.current_ms, state.succeeded_ms) == (60_000, None, 1_000_000)
    assert state.counts == {"done": 1, "failed": 0, "lost": 0, "missed": 0}
    (record,) = await schedule.runs(JOB)
    assert (record.result, record.note, record.ended_ms) == ("done", "noted", 1_000_000)


async def test_job_has_one_run_at_a_time(schedule: ScheduleStore) -> None:
    run = await schedule.begin(JOB, 60_000)
    assert run is not None
    assert await schedule.begin(JOB, 120_000) is None
    await schedule.end(run, "failed", "ValueError: no")
    assert await schedule.begin(JOB, 120_000) is not None
    assert (await schedule.state(JOB)).succeeded_ms is None


async def test_begin_that_is_sent_twice_begins_one_run(
    schedule: ScheduleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=1))
    assert await schedule.begin(JOB, 60_000) is not None
    assert await schedule.begin(JOB, 60_000) is not None
    assert len(await schedule.runs(JOB)) == 1


async def test_run_without_an_end_is_lost_after_its_limit(schedule: ScheduleStore, redis: Redis) -> None:
    run = await schedule.begin(JOB, 60_000)
    assert run is not None
    limit_ms = await redis.pttl(names.job_running_key("tests", JOB))
    assert 30_000 < limit_ms <= 35_000
    assert not await schedule.record_lost(JOB, 60_000)
    await lose_worker(redis)
    assert await schedule.record_lost(JOB, 60_000)
    assert not await schedule.record_lost(JOB, 60_000)
    await schedule.end(run, "done", "too late")
    (record,) = await schedule.runs(JOB)
    assert (record.result, record.begun_ms) == ("lost", 1_000_000)
    assert (await schedule.state(JOB)).counts == {"done": 0, "failed": 0, "lost": 1, "missed": 0}


async def test_times_that_were_taken_are_not_missed(schedule: ScheduleStore) -> None:
    run = await schedule.begin(JOB, 120_000)
    assert run is not None
    await schedule.end(run, "done", "")
    assert await schedule.record_missed(JOB, (60_000, 120_000, 180_000)) == 2
    assert await schedule.record_missed(JOB, (60_000, 120_000, 180_000)) == 0
    assert await schedule.begin(JOB, 180_000) is None
    missed, done = sorted(await schedule.runs(JOB), key=lambda record: record.planned_ms)
    assert (missed.result, missed.planned_ms, missed.until_ms, missed.count) == ("missed", 60_000, 180_000, 2)
    assert done.result == "done"
    assert (await schedule.state(JOB)).mark_ms == 180_000


async def test_mark_moves_only_forward(schedule: ScheduleStore) -> None:
    await schedule.begin_planning(JOB)
    assert await schedule.record_missed(JOB, (60_000,)) == 1
    assert (await schedule.state(JOB)).mark_ms == 1_000_000


async def test_history_is_bounded(schedule: ScheduleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_RUNS", 3)
    for number in range(1, 12):
        run = await schedule.begin(JOB, 60_000 * number)
        assert run is not None
        await schedule.end(run, "done", "")
    assert [record.planned_ms for record in await schedule.runs(JOB)] == [660_000, 600_000, 540_000]


async def test_second_request_within_the_window_changes_nothing(schedule: ScheduleStore, clock: Clock) -> None:
    assert await schedule.request(JOB, by="first")
    assert not await schedule.request(JOB, by="second")
    requested_ms = (await schedule.state(JOB)).requested_ms
    assert requested_ms is not None
    run = await schedule.begin(JOB, requested_ms, by="first", is_requested=True)
    assert run is not None
    await schedule.end(run, "done", "")
    clock.now_ms += 9_999
    assert not await schedule.request(JOB, by="second")
    clock.now_ms += 1
    assert await schedule.request(JOB, by="second")
    assert [record.by for record in await schedule.runs(JOB)] == ["first"]
    assert [(entry.by, entry.what, entry.subject) for entry in await schedule.audit.entries()] == [
        ("second", "run now", JOB),
        ("first", "run now", JOB),
    ]


async def test_request_of_another_kind_is_taken_within_the_window(schedule: ScheduleStore, clock: Clock) -> None:
    for kind, is_taken in (("dry run", True), ("run now", True), ("run now", False), ("accept", True)):
        clock.now_ms += 1_000
        assert await schedule.request(JOB, by="first", what=kind) is is_taken
        requested_ms = (await schedule.state(JOB)).requested_ms
        if requested_ms is not None:
            run = await schedule.begin(JOB, requested_ms, by="first", is_requested=True)
            assert run is not None
            await schedule.end(run, "done", "")


async def test_request_that_waits_refuses_another_one_at_any_time(schedule: ScheduleStore, clock: Clock) -> None:
    assert await schedule.request(JOB, by="first")
    clock.now_ms += 3_600_000
    assert not await schedule.request(JOB, by="second")


async def test_order_stays_with_its_request(schedule: ScheduleStore, clock: Clock) -> None:
    assert await schedule.request(JOB, by="first", order="do this", what="order this")
    assert not await schedule.request(JOB, by="second", order="do that")
    run = await schedule.begin(JOB, 60_000)  # a planned one
    assert run is not None
    await schedule.end(run, "done", "")
    state = await schedule.state(JOB)
    assert (state.requested_ms, state.order) == (1_000_000, "do this")
    assert await schedule.begin(JOB, 1_000_000, is_requested=True) is not None
    assert (await schedule.state(JOB)).order == ""
    clock.now_ms += 60_000
    assert await schedule.request(JOB, by="first")
    assert (await schedule.state(JOB)).order == ""
    assert [entry.what for entry in await schedule.audit.entries()] == ["run now", "order this"]


async def test_pause_drops_the_order_of_a_request(schedule: ScheduleStore) -> None:
    await schedule.request(JOB, by="one", order="do this")
    await schedule.pause(JOB, by="one")
    assert (await schedule.state(JOB)).order == ""


async def test_paused_job_begins_no_planned_run(schedule: ScheduleStore) -> None:
    assert await schedule.pause(JOB, by="one")
    assert not await schedule.pause(JOB, by="two")
    assert await schedule.begin(JOB, 60_000) is None
    assert await schedule.runs(JOB) == []


async def test_audit_list_of_a_service_has_only_its_jobs(redis: Redis, schedule: ScheduleStore) -> None:
    await ScheduleStore(redis, "others", limit_s=30).pause(JOB, by="one")
    assert await schedule.audit.entries() == []
    await schedule.pause(JOB, by="two")
    assert [entry.by for entry in await schedule.audit.entries()] == ["two"]
    assert await DeadActions(redis).audit() == []


async def test_change_whose_response_is_lost_is_in_the_audit_list(
    schedule: ScheduleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for change in (schedule.request, schedule.pause, schedule.resume):
        await change("other", by="one")  # Redis has the script
        lose_next_response(monkeypatch)
        with contextlib.suppress(ScheduleStoreError):
            await change(JOB, by="two")
    entries = await schedule.audit.entries()
    assert [entry.what for entry in entries if entry.subject == JOB] == ["resume", "pause", "run now"]


async def test_pause_keeps_the_reason_of_the_first_operator_until_it_ends(schedule: ScheduleStore) -> None:
    await schedule.begin_planning(JOB)
    await schedule.pause(JOB, by="one", reason="the source moves")
    await schedule.pause(JOB, by="two", reason="another")
    assert (await schedule.state(JOB)).paused_reason == "the source moves"
    await schedule.resume(JOB, by="one")
    assert (await schedule.state(JOB)).paused_reason == ""


async def test_resume_skips_the_times_of_the_pause(schedule: ScheduleStore, clock: Clock) -> None:
    await schedule.begin_planning(JOB)
    await schedule.pause(JOB, by="one")
    clock.now_ms += 600_000
    assert await schedule.resume(JOB, by="one")
    assert not await schedule.resume(JOB, by="two")
    state = await schedule.state(JOB)
    assert (state.mark_ms, state.paused_ms, state.counts["missed"]) == (1_600_000, None, 0)
    assert [entry.what for entry in await schedule.audit.entries()] == ["resume", "pause"]


async def test_pause_drops_a_request_and_a_later_request_runs(schedule: ScheduleStore, clock: Clock) -> None:
    await schedule.request(JOB, by="one")
    await schedule.pause(JOB, by="one")
    assert (await schedule.state(JOB)).requested_ms is None
    clock.now_ms += 60_000
    assert await schedule.request(JOB, by="one")
    assert await schedule.begin(JOB, clock.now_ms, is_requested=True) is not None


async def test_queue_keeps_the_newest_checks(schedule: ScheduleStore, redis: Redis) -> None:
    await redis.lpush(names.schedule_queue("tests"), *map(str, range(20)))
    await schedule.states([JOB], most_checks=3)
    assert await redis.lrange(names.schedule_queue("tests"), 0, -1) == ["19", "18", "17"]
