from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.redis import connect
from services.consumers.core.actions import Action
from services.consumers.core.flights import ActionReport
from services.consumers.store.actions import MOST_STARTS, ActionStore
from tests.lost_response import lose_next_response

ACTION = Action("match_notifier", "id-1", "{}")
OTHER = Action("match_notifier", "id-2", "{}")
MOST_BYTES = 260


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with connect(clean_redis.url, timeout_s=5.0, resend=True, text="strict") as client:
        yield client


@pytest.fixture
def store(redis: Redis) -> ActionStore:
    return ActionStore(redis, time_limit_s=30)


async def lose_lock(redis: Redis, action: Action) -> None:
    """Expire the lock of a start, as Redis does when a worker is frozen for longer than its time limit."""
    await redis.delete(names.action_running_key(action.handler, action.id))


async def test_start_whose_response_is_lost_begins_the_action(
    redis: Redis, store: ActionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.start(OTHER)  # Redis has the script
    lose_next_response(monkeypatch)
    start = await store.start(ACTION)
    assert start.kind == "started"
    assert await redis.hget(names.action_state_key(ACTION.handler, ACTION.id), "starts") == "1"
    assert (await store.start(ACTION)).kind == "running"


async def test_start_beyond_the_last_stays_lost_when_its_response_is_lost(
    redis: Redis, store: ActionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(MOST_STARTS):
        assert (await store.start(ACTION)).kind == "started"
        await lose_lock(redis, ACTION)
    lose_next_response(monkeypatch)
    assert (await store.start(ACTION)).kind == "lost"


async def test_late_end_of_an_older_start_does_not_replace_the_end(redis: Redis, store: ActionStore) -> None:
    frozen = await store.start(ACTION)
    await lose_lock(redis, ACTION)
    await store.report_done(ACTION, await store.start(ACTION))
    await store.write_dead_letter(ACTION, "a late failure")
    assert await store.reports(ACTION.handler, [ACTION.id]) == {ACTION.id: ActionReport("done", 3)}
    assert await store.dead.find() == []

    await store.write_dead_letter(OTHER, "a failure")
    await store.report_done(OTHER, frozen)
    assert [letter.id for letter in await store.dead.find()] == [OTHER.id]
    assert await store.overview.ends([ACTION.handler]) == {(ACTION.handler, "done"): 1, (ACTION.handler, "dead"): 1}


async def test_failure_of_a_second_start_does_not_replace_the_end_of_the_first(
    redis: Redis, store: ActionStore
) -> None:
    frozen = await store.start(ACTION)
    await lose_lock(redis, ACTION)
    second = await store.start(ACTION)
    await store.report_done(ACTION, frozen)
    assert (await store.start(ACTION)).kind == "finished"
    await store.report_failed(ACTION, second, "a failure")
    assert (await store.start(ACTION)).kind == "finished"
    assert not await redis.exists(names.action_running_key(ACTION.handler, ACTION.id))


async def test_away_counts_as_an_attempt_only_if_other_actions_were_done_since_the_last_one(store: ActionStore) -> None:
    async def away(*, wait_s: float = 0.0) -> int:
        return await store.report_away(ACTION, await store.start(ACTION, is_probe=True), "TimeoutError", wait_s=wait_s)

    async def do_another(id_: str) -> None:
        another = Action(ACTION.handler, id_, "{}")
        await store.report_done(another, await store.start(another, is_probe=True))

    assert [await away() for _ in range(5)] == [0] * 5  # an outage
    await do_another("2")
    assert [await away(), await away()] == [1, 0]
    await do_another("3")
    assert await away(wait_s=1.0) == 0  # a rate limit
    assert await away() == 2
    await store.report_done(ACTION, await store.start(ACTION, is_probe=True))


async def test_end_of_a_fix_is_remembered_for_ten_minutes_and_others_for_a_day(
    redis: Redis, store: ActionStore
) -> None:
    for action, keep_s in ((Action("geo_updates", "id", "{}"), 600), (ACTION, 86_400)):
        await store.report_done(action, await store.start(action))
        assert keep_s - 5 <= await redis.ttl(names.action_state_key(action.handler, action.id)) <= keep_s


async def test_ended_action_takes_little_memory(redis: Redis, store: ActionStore) -> None:
    used = []
    for first in (0, 2_000):
        for number in range(first, first + 2_000):
            action = Action("match_notifier", f"{number:032x}", "{}")
            await store.report_done(action, await store.start(action))
        used.append((await redis.info("memory"))["used_memory"])
    assert used[1] - used[0] < 2_000 * MOST_BYTES


async def test_used_share_of_memory_is_zero_without_a_limit(redis: Redis, store: ActionStore) -> None:
    limit = str((await redis.config_get("maxmemory"))["maxmemory"])
    try:
        await redis.config_set("maxmemory", 0)
        assert await store.memory_share() == 0.0
        await redis.config_set("maxmemory", 1_000_000_000)
        assert 0.0 < await store.memory_share() < 0.5
    finally:
        await redis.config_set("maxmemory", limit)
