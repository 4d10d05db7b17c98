import io
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from rich.console import Console

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.redis import LocalRedis
from deploy.operate.actions_status import ActionsStatus, HandlerStatus, read_actions
from deploy.operate.endpoints import Endpoints
from services.backbone import names
from services.backbone.action_overview import ActionOverview
from services.backbone.dead_actions import DeadAction, DeadActions


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as client:
        yield client


def endpoints(redis: LocalRedis, brokers: str = "") -> Endpoints:
    return Endpoints("", (), redis.url, brokers, actions_url=redis.url)


def rendered(status: ActionsStatus) -> str:
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(status.render())
    return capture.get()


async def test_state_in_redis_is_read_without_kafka(clean_redis: LocalRedis, redis: Redis) -> None:
    await DeadActions(redis).write(DeadAction("bulk_data", "id-1", "{}", "no"))
    await redis.lpush(names.action_queue("geo_updates"), "task", "task")
    await redis.hset(names.retried_actions_key("match_notifier"), "id-2", "{}")
    await redis.set(names.away_key("geo_updates"), "no connection")
    for worker, silence_s in (("fresh", 60.0), ("silent", -1.0)):
        await ActionOverview(redis).write_worker(worker, silence_s=silence_s)
    status = await read_actions(endpoints(clean_redis), has_kafka=False)
    assert status.handlers["geo_updates"] == HandlerStatus(None, None, 2, 0, 0, "no connection")
    assert status.handlers["match_notifier"] == HandlerStatus(None, None, 0, 1, 0, "")
    assert status.handlers["bulk_data"].dead == 1
    assert (status.workers, status.is_used) == (1, True)
    assert status.as_json()["dead"] == 1
    assert "geo_updates waits: no connection" in rendered(status)
    assert "workers: 1" in rendered(status)


async def test_system_without_action_consumers_has_nothing_to_show(
    local_stack: LocalStack, clean_redis: LocalRedis
) -> None:
    status = await read_actions(endpoints(clean_redis, local_stack.bootstrap_servers), has_kafka=True)
    assert {handler.lag for handler in status.handlers.values()} == {None}
    assert not status.is_used


async def test_state_is_read_without_the_redis_of_the_counters(
    local_stack: LocalStack, clean_redis: LocalRedis, redis: Redis
) -> None:
    away = Endpoints("", (), "redis://127.0.0.1:9/0", local_stack.bootstrap_servers, actions_url=clean_redis.url)
    await DeadActions(redis).write(DeadAction("bulk_data", "1", "{}", "no"))
    status = await read_actions(away, has_kafka=True)
    assert status.error == ""
    assert status.handlers["bulk_data"] == HandlerStatus(None, None, 0, 0, 1, "")


async def test_missing_redis_is_reported_with_its_address() -> None:
    nowhere = Endpoints("", (), "redis://127.0.0.1:9/0", "", actions_url="redis://user:secret@127.0.0.1:9/0")
    status = await read_actions(nowhere, has_kafka=False)
    assert status.error.startswith("the Redis of the actions (redis://127.0.0.1:9/0) does not respond")
    assert status.is_used
    assert status.as_json()["error"] == status.error
    assert rendered(status).startswith("the Redis of the actions")
