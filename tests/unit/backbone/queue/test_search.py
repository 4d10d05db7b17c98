import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from services.backbone import names
from services.backbone.queue import EventQueue, QueueSearch

MUCH = 1_000_000


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url) as client:
        await client.flushdb()
        yield client


@pytest.fixture
def search(redis: Redis) -> QueueSearch:
    return QueueSearch(redis)


async def fill(redis: Redis, count: int, *, size: int = 0) -> list[bytes]:
    entries = [(b"%06d" % number).ljust(size, b".") for number in range(count)]
    await EventQueue(redis).push(entries)
    return entries


async def test_slices_cover_the_list_from_its_tail(redis: Redis, search: QueueSearch) -> None:
    entries = await fill(redis, 1000)
    read: list[bytes] = []
    while True:
        part = await search.slice(names.RAW_EVENTS_LIST, skip=len(read), limit=130, max_bytes=MUCH)
        assert part.length == 1000
        if not part.entries:
            break
        assert len(part.entries) <= 130
        read += part.entries
    assert read == entries[::-1]


async def test_claims_at_the_head_hide_no_entry_from_a_search(redis: Redis, search: QueueSearch) -> None:
    entries = await fill(redis, 500)
    queue = EventQueue(redis, instance="one")
    read: list[bytes] = []
    while True:
        part = await search.slice(names.RAW_EVENTS_LIST, skip=len(read), limit=50, max_bytes=MUCH)
        if not part.entries:
            break
        read += part.entries
        await queue.claim(limit=40, max_bytes=MUCH, wait_s=0)
    [*claims] = await search.claims(limit=100)
    for claim in claims:
        read += (await search.slice(claim.key, skip=0, limit=50, max_bytes=MUCH)).entries
    assert set(read) == set(entries)


async def test_slice_ends_with_the_entry_that_reaches_the_limit_of_bytes(redis: Redis, search: QueueSearch) -> None:
    entries = await fill(redis, 100, size=1000)
    part = await search.slice(names.RAW_EVENTS_LIST, skip=0, limit=100, max_bytes=4500)
    assert part.entries == entries[:-6:-1]


async def test_missing_list_is_empty(search: QueueSearch) -> None:
    assert await search.slice("none", skip=0, limit=10, max_bytes=MUCH) == (0, [])
    assert await search.claims(limit=10) == []


async def test_claim_has_its_instance_its_age_and_its_lease(redis: Redis, search: QueueSearch) -> None:
    await fill(redis, 5)
    begin = time.time()
    claim = await EventQueue(redis, instance="host-7-ab:cd", lease_s=15.0).claim(limit=3, max_bytes=MUCH, wait_s=0)
    assert claim is not None
    await redis.zadd(names.CLAIM_LEASES, {b"\xff other program": 1})
    other, held = await search.claims(limit=10)
    assert (held.key.decode(), held.instance, held.entries) == (claim.key, "host-7-ab:cd", 3)
    assert 0 <= held.claimed_ms_ago <= (time.time() - begin) * 1000 + 50
    assert 0 < held.lease_ms <= 15_000
    assert (other.entries, other.lease_ms < 0) == (0, True)


async def test_claims_within_one_millisecond_have_different_keys(redis: Redis) -> None:
    await fill(redis, 50)
    queue = EventQueue(redis, instance="one")
    keys = []
    for _ in range(50):
        claim = await queue.claim(limit=1, max_bytes=MUCH, wait_s=0)
        assert claim is not None
        keys.append(claim.key)
    assert len(set(keys)) == 50
