"""Checks on a real Redis, with a clock that the test sets."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.schedule import JobPlan, RunRecord, ScheduledJob, ScheduleStore
from services.backbone.schedule.executor import JobExecutor

BERLIN = ZoneInfo("Europe/Berlin")
DAILY = JobPlan("daily", "30 2 * * *", "Does one thing.")


class Bench:
    """One job, the times of its runs, and a clock."""

    def __init__(self, redis: LocalRedis) -> None:
        self._url = redis.url
        self.now = dt.datetime(2026, 1, 1, tzinfo=BERLIN)
        self.ran: list[str] = []
        self.error: Exception | None = None
        self.executor = JobExecutor(
            self.open_store, {DAILY.name: ScheduledJob(DAILY, self.run, self.follow)}, zone=BERLIN, late_s=3600
        )

    async def run(self) -> str:
        self.ran.append(self.now.isoformat(timespec="minutes"))
        if self.error is not None:
            raise self.error
        return f"run {len(self.ran)}"

    async def follow(self, order: str) -> str:
        return f"{order}, after {len(self.ran)} runs"

    def request(self, order: str) -> None:
        async def ask() -> None:
            async with contextlib.aclosing(self.open_store()) as store:
                await store.request(DAILY.name, by="operator", order=order)

        asyncio.run(ask())

    def open_store(self) -> ScheduleStore:
        redis = Redis.from_url(self._url, decode_responses=True)
        clock = lambda: round(1000 * self.now.timestamp())  # noqa: E731
        return ScheduleStore(redis, "tests", limit_s=30, clock=clock)

    def check_each(self, minutes: int, *, first: dt.datetime, last: dt.datetime) -> None:
        """Check the job from one time to another."""
        self.now = first.astimezone(dt.UTC)
        while self.now <= last.astimezone(dt.UTC):
            instant, self.now = self.now, self.now.astimezone(BERLIN)
            self.executor.check(DAILY.name)
            self.now = instant + dt.timedelta(minutes=minutes)

    def runs(self) -> list[RunRecord]:
        async def read() -> list[RunRecord]:
            store = self.open_store()
            try:
                return await store.runs(DAILY.name)
            finally:
                await store.aclose()

        return asyncio.run(read())

    def lose_worker(self) -> None:
        async def drop_lock() -> None:
            async with Redis.from_url(self._url) as redis:
                await redis.delete(names.job_running_key("tests", DAILY.name))

        asyncio.run(drop_lock())


@pytest.fixture
def bench(clean_redis: LocalRedis) -> Bench:
    return Bench(clean_redis)


def berlin(month: int, day: int, hour: int, minute: int = 0) -> dt.datetime:
    return dt.datetime(2026, month, day, hour, minute, tzinfo=BERLIN)


def test_daily_job_runs_once_in_both_nights_with_a_change_of_the_clock(bench: Bench) -> None:
    bench.check_each(5, first=berlin(3, 28, 12), last=berlin(3, 29, 12))
    assert bench.ran == ["2026-03-29T03:00+02:00"]
    bench.ran.clear()
    bench.check_each(5, first=berlin(10, 24, 12), last=berlin(10, 25, 12))
    assert bench.ran == ["2026-10-25T02:30+02:00"]


def test_run_is_made_up_for_within_an_hour_and_missed_later(bench: Bench) -> None:
    bench.check_each(1, first=berlin(1, 1, 12), last=berlin(1, 1, 12))
    bench.check_each(1, first=berlin(1, 2, 3, 30), last=berlin(1, 2, 3, 32))
    assert bench.ran == ["2026-01-02T03:30+01:00"]
    bench.check_each(1, first=berlin(1, 5, 3, 31), last=berlin(1, 5, 3, 32))
    assert len(bench.ran) == 1
    missed, done = bench.runs()
    assert (missed.result, missed.count, done.result, done.note) == ("missed", 3, "done", "run 1")


@pytest.mark.parametrize(
    ("error", "note"), [(ValueError("no"), "ValueError: no"), (SoftTimeLimitExceeded(), "time limit")]
)
def test_error_of_a_job_is_in_its_history(bench: Bench, error: Exception, note: str) -> None:
    bench.error = error
    bench.check_each(30, first=berlin(1, 1, 2), last=berlin(1, 1, 3))
    (record,) = bench.runs()
    assert (record.result, record.note) == ("failed", note)


def test_order_is_followed_by_the_run_of_its_request_only(bench: Bench) -> None:
    bench.check_each(1, first=berlin(1, 1, 12), last=berlin(1, 1, 12))
    bench.now = berlin(1, 2, 2, 31)
    bench.request("do this")
    bench.executor.check(DAILY.name)  # begins the planned run
    assert len(bench.ran) == 1
    bench.check_each(1, first=berlin(1, 2, 2, 32), last=berlin(1, 2, 2, 40))
    assert [(record.note, record.by) for record in bench.runs()] == [
        ("do this, after 1 runs", "operator"),
        ("run 1", ""),
    ]
    bench.check_each(1, first=berlin(1, 3, 2, 30), last=berlin(1, 3, 2, 30))
    assert len(bench.ran) == 2


def test_order_to_a_job_that_follows_none_fails(bench: Bench) -> None:
    job = ScheduledJob(DAILY, bench.run)
    bench.executor = JobExecutor(bench.open_store, {DAILY.name: job}, zone=BERLIN, late_s=3600)
    bench.request("do this")
    bench.check_each(1, first=berlin(1, 1, 12), last=berlin(1, 1, 12, 1))
    (record,) = bench.runs()
    assert (record.result, record.note) == ("failed", "ValueError: daily follows no order")
    assert bench.ran == []


def fail_first(times: int) -> Callable[..., None]:
    """Return a function that raises at its first calls, like a Redis that restarts."""
    calls: list[None] = []

    def fail() -> None:
        calls.append(None)
        if len(calls) <= times:
            raise RedisConnectionError("Connection refused")

    return fail


def test_end_is_recorded_over_a_restart_of_redis(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fail, end = fail_first(2), ScheduleStore.end

    async def failing_end(store: ScheduleStore, *args: object) -> None:
        fail()
        await end(store, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(ScheduleStore, "end", failing_end)
    bench.check_each(30, first=berlin(1, 1, 2), last=berlin(1, 1, 3))
    (record,) = bench.runs()
    assert record.result == "done"


def test_run_whose_end_is_not_recorded_is_lost_and_not_repeated(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as context:
        context.setattr(ScheduleStore, "end", killed)
        with pytest.raises(SystemExit):
            bench.check_each(30, first=berlin(1, 1, 2), last=berlin(1, 1, 2, 30))
    bench.executor.check(DAILY.name)
    assert bench.runs()[0].result == "running"
    bench.lose_worker()
    bench.executor.check(DAILY.name)
    assert bench.runs()[0].result == "lost"
    assert len(bench.ran) == 1


def test_check_of_an_unknown_job_does_nothing(bench: Bench) -> None:
    bench.executor.check("removed")
    assert bench.runs() == []
