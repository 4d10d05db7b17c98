from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.offerserver.core.exchanges import Validators
from services.offerserver.core.grades import RunGrade
from services.offerserver.core.pictures import PictureCounts, PictureFailure, PictureMemory
from services.offerserver.core.reports import RunCounts, RunReport
from services.offerserver.core.runs import RunMemory
from services.offerserver.store.leases import LeaseLost, RunLeases
from services.offerserver.store.runs import ImporterState, RunEnd, RunOrder, RunStore, SuspectRun
from tests.unit.offerserver.importing import draft, parsed

END = RunEnd({"https://a.example/": Validators('"1"', "")}, frozenset({"b", "a"}), "digest")


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as client:
        yield client


def report(number: int, grade: Any = "trusted", **changes: Any) -> RunReport:
    values: dict[str, Any] = {"began_ms": 10 * number, "ended_ms": 10 * number + 5, "mode": "run"} | changes
    return RunReport(number=number, grade=grade, **values)


async def finish(redis: Redis, done: RunReport, end: RunEnd | None = None) -> None:
    store = RunStore(redis)
    async with RunLeases(redis).hold("a") as lease:
        assert lease is not None
        await store.finish(lease, done, await store.state("a"), end)


async def test_importer_without_runs_has_an_empty_state(redis: Redis) -> None:
    state = await RunStore(redis).state("a")
    assert state == ImporterState(RunMemory(), {}, None, None, "", 0)
    assert state.alive_ms is None
    assert await RunStore(redis).history("a") == []


async def test_trusted_run_leaves_what_the_next_one_needs(redis: Redis) -> None:
    await finish(redis, report(1, counts=RunCounts(items=7)), END)
    state = await RunStore(redis).state("a")
    assert state.memory == RunMemory(trusted_counts=(7,), absent=frozenset({"a", "b"}))
    assert (state.validators, state.offers_digest) == (END.validators, "digest")
    assert (state.trusted_ms, state.since_ms, state.alive_ms) == (15, None, 15)


async def test_pictures_to_try_again_are_kept_until_a_run_replaces_them(redis: Redis) -> None:
    store = RunStore(redis)
    memory = PictureMemory({"key": PictureFailure(2, 99, "status 404")}, 99)
    done = report(1, pictures=PictureCounts(results={"uploaded": 3, "not_fetched": 1}))
    async with RunLeases(redis).hold("a") as lease:
        assert lease is not None
        await store.finish(lease, done, await store.state("a"), pictures=memory)
    await finish(redis, report(2, "failed"))
    assert (await store.state("a")).pictures == memory
    totals = await store.totals("a")
    assert (totals["pictures:uploaded"], totals["pictures:not_fetched"]) == (3, 1)
    assert (await store.history("a"))[1] == done


async def test_other_runs_leave_it_as_it_is(redis: Redis) -> None:
    await finish(redis, report(1, counts=RunCounts(items=7)), END)
    before = await RunStore(redis).state("a")
    for number, grade in enumerate(("partial", "partial", "failed"), 2):
        await finish(redis, report(number, grade))
        state = await RunStore(redis).state("a")
        assert state._replace(partial_in_a_row=0) == before
    assert state.partial_in_a_row == 0
    await finish(redis, report(5, "partial"))
    await finish(redis, report(6, "partial"))
    assert (await RunStore(redis).state("a")).partial_in_a_row == 2


async def test_unchanged_document_counts_as_a_trusted_run(redis: Redis) -> None:
    await finish(redis, report(1, counts=RunCounts(items=7)), END)
    await finish(redis, report(2, is_unchanged=True))
    state = await RunStore(redis).state("a")
    assert (state.trusted_ms, state.memory.trusted_counts) == (25, (7,))


async def test_history_keeps_30_runs(redis: Redis) -> None:
    for number in range(1, 34):
        await finish(redis, report(number))
    history = await RunStore(redis).history("a")
    assert [each.number for each in history] == list(range(33, 3, -1))
    assert await RunStore(redis).history("a", 1) == [report(33)]


async def test_totals_are_sums(redis: Redis) -> None:
    for number in (1, 2):
        await finish(redis, report(number, counts=RunCounts(new=2, rejected=1)))
    await RunStore(redis).count_lost_lease("a")
    assert await RunStore(redis).totals("a") == {
        "grade:trusted": 2,
        "items:new": 4,
        "items:rejected": 2,
        "bytes": 0,
        "retries": 0,
        "lease_lost": 1,
    }


async def test_run_without_its_lease_records_nothing(redis: Redis) -> None:
    store = RunStore(redis)
    async with RunLeases(redis).hold("a") as lease:
        assert lease is not None
        await redis.set("offers:lock:a", "another run")
        with pytest.raises(LeaseLost):
            await store.finish(lease, report(1), await store.state("a"), END)
    assert await store.history("a") == []
    assert (await store.state("a")).trusted_ms is None


async def test_end_that_is_sent_again_is_recorded_once(redis: Redis) -> None:
    store = RunStore(redis)
    async with RunLeases(redis).hold("a") as lease:
        assert lease is not None
        state = await store.state("a")
        for _ in range(2):
            await store.finish(lease, report(1, counts=RunCounts(new=2)), state, END)
    assert len(await store.history("a")) == 1
    assert (await store.totals("a"))["items:new"] == 2


async def test_suspect_run_is_kept_until_the_next_run(redis: Redis) -> None:
    store = RunStore(redis)
    kept = SuspectRun(
        "digest", parsed(draft(1, extdata={"a": 1}), removed=frozenset({"x"})), RunGrade(name="partial"), 5
    )
    await store.keep_suspect("a", kept)
    assert await store.suspect("a") == kept
    await finish(redis, report(1))
    assert await store.suspect("a") is None


def test_order_passes_the_schedule_as_a_text() -> None:
    order = RunOrder("accept", "operator", "digest")
    assert RunOrder.decode(order.encode()) == order


async def test_dry_run_is_kept_beside_the_history(redis: Redis) -> None:
    store = RunStore(redis)
    assert await store.dry_run("a") is None
    await store.keep_dry_run("a", report(1, mode="dry run"))
    assert await store.dry_run("a") == report(1, mode="dry run")
    assert await store.history("a") == []
