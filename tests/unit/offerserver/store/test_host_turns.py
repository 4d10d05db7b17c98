import asyncio
import itertools
import time
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.offerserver.store.host_turns import RedisTurns

HOST = "https://feed.example"


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as client:
        yield client


async def test_one_request_at_a_time_with_a_delay_between_two(redis: Redis) -> None:
    turns = RedisTurns(redis, longest_s=5.0, wait_s=5.0)
    spans = []

    async def request() -> None:
        async with turns.turn(HOST, delay_s=0.3):
            began_s = time.monotonic()
            await asyncio.sleep(0.05)
            spans.append((began_s, time.monotonic()))

    await asyncio.gather(*(request() for _ in range(3)))
    spans.sort()
    for (_, ended_s), (began_s, _) in itertools.pairwise(spans):
        assert began_s - ended_s >= 0.29


async def test_hosts_do_not_wait_for_each_other(redis: Redis) -> None:
    turns = RedisTurns(redis, longest_s=5.0, wait_s=0.2)
    async with turns.turn(HOST, delay_s=1.0), turns.turn("https://other.example", delay_s=1.0):
        with pytest.raises(TimeoutError):
            async with turns.turn(HOST, delay_s=1.0):
                pass


async def test_turn_of_a_killed_process_ends(redis: Redis) -> None:
    turns = RedisTurns(redis, longest_s=0.2, wait_s=2.0)
    async with turns.turn(HOST, delay_s=0.0), turns.turn(HOST, delay_s=0.0):
        pass
