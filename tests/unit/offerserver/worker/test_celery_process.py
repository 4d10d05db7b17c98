import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.offerserver.worker.celery_process import OfferWorkerEnded, WorkerHeartbeat

SLEEPS = (sys.executable, "-c", "import time; time.sleep(60)")


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as client:
        yield client


@pytest.fixture
async def process() -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(*SLEEPS)
    yield started
    if started.returncode is None:
        started.kill()
    await started.wait()


async def test_worker_is_ready_after_its_first_check(redis: Redis, process: asyncio.subprocess.Process) -> None:
    heartbeat = WorkerHeartbeat(redis, "w", limit_s=60.0)
    with pytest.raises(RuntimeError, match="has executed no check yet"):
        await heartbeat.check()
    await redis.set(names.offers_worker_key("w"), "1")
    watching = asyncio.create_task(heartbeat.watch(process))
    await asyncio.sleep(0.2)
    assert await heartbeat.check() == ""
    watching.cancel()


async def test_silent_worker_ends(redis: Redis, process: asyncio.subprocess.Process) -> None:
    await redis.set(names.offers_worker_key("w"), "1")
    heartbeat = WorkerHeartbeat(redis, "w", limit_s=0.5)
    with pytest.raises(OfferWorkerEnded, match="has executed no check for"):
        await asyncio.wait_for(heartbeat.watch(process), 10)


async def test_end_of_the_worker_is_noticed(redis: Redis, process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()
    with pytest.raises(OfferWorkerEnded, match="has ended with -9"):
        await WorkerHeartbeat(redis, "w", limit_s=60.0).watch(process)
