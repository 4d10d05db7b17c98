from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.dead_actions import KEEP_ENDS_S
from services.consumers.core.actions import Action
from services.consumers.store.actions import MOST_STARTS, ActionStore, UnendedStarts

FAILING = names.failing_actions_key("bulk_data")


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as client:
        yield client


async def fail(store: ActionStore, id_: str) -> None:
    action = Action("bulk_data", id_, "{}")
    await store.report_failed(action, await store.start(action), "no")


async def test_failing_action_without_an_end_is_not_counted_for_ever(redis: Redis) -> None:
    store = ActionStore(redis, time_limit_s=30)
    await fail(store, "skipped")
    now_s, _ = await redis.time()
    await redis.zadd(FAILING, {"skipped": now_s - KEEP_ENDS_S - 1})
    await fail(store, "new")
    assert await redis.zrange(FAILING, 0, -1) == ["new"]
    assert 0 < await redis.ttl(FAILING) <= KEEP_ENDS_S


async def test_starts_over_the_time_limit_are_counted_apart_from_lost_workers(redis: Redis) -> None:
    store, action = ActionStore(redis, time_limit_s=30), Action("bulk_data", "id-1", "{}")
    running = names.action_running_key(action.handler, action.id)
    await store.start(action)
    await redis.delete(running)  # the worker is lost
    assert await store.report_over_time(action, await store.start(action)) == UnendedStarts(2, 1, 0)
    await store.start(action)
    await redis.delete(running)
    dead = await store.start(action)
    assert (dead.kind, dead.over_time) == ("lost", 1)


@pytest.mark.parametrize("starts", [1, 2, 3])
async def test_action_is_dead_at_the_third_start_over_the_time_limit(redis: Redis, starts: int) -> None:
    store, action = ActionStore(redis, time_limit_s=30), Action("bulk_data", "id-1", "{}")
    for _ in range(starts):
        unended = await store.report_over_time(action, await store.start(action))
    assert unended == UnendedStarts(starts, starts, 0)
    assert unended.are_too_many == (starts == MOST_STARTS)


@pytest.mark.parametrize("is_done", [True, False])
async def test_action_with_an_end_is_not_failing(redis: Redis, is_done: bool) -> None:  # noqa: FBT001 - a case
    store, action = ActionStore(redis, time_limit_s=30), Action("bulk_data", "id-1", "{}")
    await fail(store, action.id)
    assert await redis.zcard(FAILING) == 1
    if is_done:
        await store.report_done(action, await store.start(action))
    else:
        await store.write_dead_letter(action, "no")
    assert await redis.zcard(FAILING) == 0
