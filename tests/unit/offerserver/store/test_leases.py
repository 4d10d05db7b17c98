import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.offerserver.store.leases import LeaseLost, RunLeases


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as client:
        yield client


async def test_one_run_holds_the_lease_and_numbers_grow(redis: Redis) -> None:
    leases = RunLeases(redis)
    async with leases.hold("a") as first, leases.hold("a") as second, leases.hold("b") as other:
        assert first is not None
        assert other is not None
        assert (first.number, second, other.number) == (1, None, 1)
    async with leases.hold("a") as next_one:
        assert next_one is not None
        assert next_one.number == 2


async def test_lease_is_renewed_while_it_is_held(redis: Redis) -> None:
    async with RunLeases(redis, lease_s=0.4).hold("a") as lease:
        assert lease is not None
        await asyncio.sleep(1.0)
        await lease.check()


async def test_lease_ends_without_renewal_and_the_former_run_notices_it(redis: Redis) -> None:
    leases = RunLeases(redis, lease_s=0.2)
    async with leases.hold("a") as lease:
        assert lease is not None
        await redis.delete("offers:lock:a")  # as if the process had been frozen
        async with leases.hold("a") as second:
            assert second is not None
            assert second.number == 2
            with pytest.raises(LeaseLost, match="run 1 of a has lost its lease"):
                await lease.check()


async def test_end_of_a_lost_lease_does_not_end_that_of_another_run(redis: Redis) -> None:
    leases = RunLeases(redis)
    async with leases.hold("a"):
        await redis.set("offers:lock:a", "another run")
    assert await redis.get("offers:lock:a") == "another run"
