from collections.abc import AsyncIterator

import msgspec
import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.action_overview import ActionOverview, ConsumerState
from services.backbone.clock import clock_ms

HOUR_S = 3600.0


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as client:
        yield client


def consumer(*, keep_s: float) -> ConsumerState:
    return ConsumerState(lag=5, waiting=4, in_flight=3, oldest_s=2.0, until_ms=clock_ms() + round(1000 * keep_s))


async def test_consumer_runs_until_its_state_expires(redis: Redis) -> None:
    overview = ActionOverview(redis)
    await overview.write_consumer("bulk_data", "one", consumer(keep_s=60))
    expired = msgspec.json.encode(consumer(keep_s=-1)).decode()
    await redis.hset(names.ACTION_CONSUMERS, names.action_process_name("bulk_data", "two"), expired)
    state, other = await overview.states(["bulk_data", "geo_updates"])
    assert (state.consumers, state.lag, state.in_flight) == (1, 5, 3)
    assert other.consumers == 0


async def test_writers_drop_processes_that_do_not_run(redis: Redis) -> None:
    overview = ActionOverview(redis)
    for process, keep_s in (("killed", -1), ("one", 60)):
        await overview.write_consumer("bulk_data", process, consumer(keep_s=keep_s))
    for worker, silence_s in (("killed", -HOUR_S - 1), ("silent", 1 - HOUR_S), ("one", 60)):
        await overview.write_worker(worker, silence_s=silence_s)
    assert await redis.hkeys(names.ACTION_CONSUMERS) == ["bulk_data:one"]
    assert sorted(await redis.hkeys(names.ACTION_WORKERS)) == ["one", "silent"]
    assert {name: worker.is_silent for name, worker in (await overview.workers()).items()} == {
        "silent": True,
        "one": False,
    }
