from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.action_moves import RequestedMoves


@pytest.fixture
async def moves(clean_redis: LocalRedis) -> AsyncIterator[RequestedMoves]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as redis:
        yield RequestedMoves(redis)


async def test_request_replaces_that_of_the_same_partition(moves: RequestedMoves) -> None:
    await moves.request("geo_updates", {0: 5, 1: 7})
    await moves.request("geo_updates", {1: 9})
    await moves.request("geo_updates", {})
    assert await moves.read("geo_updates") == {0: 5, 1: 9}
    assert await moves.read("bulk_data") == {}


async def test_applied_request_is_removed_unless_another_one_has_replaced_it(moves: RequestedMoves) -> None:
    await moves.request("geo_updates", {0: 5, 1: 7})
    await moves.remove("geo_updates", 0, 5)
    await moves.remove("geo_updates", 1, 6)
    assert await moves.read("geo_updates") == {1: 7}
