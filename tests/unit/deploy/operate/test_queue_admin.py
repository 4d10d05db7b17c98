from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from deploy.operate.queue_admin import QueueAdmin
from services.backbone.queue import Claim, EventQueue, Ledger
from services.backbone.redis import connect

ENTRIES = [b"entry %d" % number for number in range(10)]


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with connect(clean_redis.url, timeout_s=5) as client:
        yield client


@pytest.fixture
def queue(redis: Redis) -> EventQueue:
    return EventQueue(redis, instance="one")


@pytest.fixture
def admin(redis: Redis) -> QueueAdmin:
    return QueueAdmin(redis)


async def take(queue: EventQueue) -> Claim:
    claim = await queue.claim(limit=100, max_bytes=1_000_000, wait_s=0)
    assert claim is not None
    return claim


async def test_waiting_entries_can_be_read_and_removed(queue: EventQueue, admin: QueueAdmin) -> None:
    await queue.push(ENTRIES)
    assert [entry async for entry in admin.waiting(chunk=3)] == ENTRIES
    assert await admin.remove([b"entry 4", b"entry 7", b"not there"]) == 2
    assert await admin.remove([]) == 0
    assert b"entry 4" not in (await take(queue)).entries
    ledger = await queue.ledger()
    assert (ledger.accepted, ledger.claimed, ledger.erased, ledger.unaccounted) == (8, 8, 2, 0)


async def test_claims_contain_a_claim_until_it_is_confirmed(queue: EventQueue, admin: QueueAdmin) -> None:
    await queue.push(ENTRIES)
    claim = await take(queue)
    assert await admin.claims() == {claim.key}
    assert await queue.confirm(claim, produced=10, dead=0)
    assert await admin.claims() == frozenset()


async def test_expired_claim_is_reclaimed(redis: Redis, admin: QueueAdmin) -> None:
    dead = EventQueue(redis, instance="dead", lease_s=0)
    await dead.push(ENTRIES)
    await take(dead)
    assert await admin.reclaim() == 10
    assert [entry async for entry in admin.waiting()] == ENTRIES


async def test_erased_device_is_in_the_set_once(queue: EventQueue, admin: QueueAdmin) -> None:
    await admin.erase(b"digest")
    await admin.erase(b"digest")
    await queue.push(ENTRIES)
    assert (await take(queue)).erased == 1
    assert await queue.erased() == {b"digest"}


async def test_dead_letter_is_requeued_once(queue: EventQueue, admin: QueueAdmin) -> None:
    await queue.push(ENTRIES[:2])
    await queue.confirm(await take(queue), produced=1, dead=1)
    assert await admin.requeue(b"entry 1", letter=b"letter")
    assert not await admin.requeue(b"entry 1", letter=b"letter")
    assert await admin.requeued([b"letter", b"other"]) == {b"letter"}
    assert await admin.requeued([]) == frozenset()
    assert await queue.ledger() == Ledger(accepted=2, produced=1, dead=0, listed=1)


async def test_marked_dead_letters_are_not_requeued(queue: EventQueue, admin: QueueAdmin) -> None:
    await queue.push(ENTRIES[:1])
    await queue.confirm(await take(queue), produced=0, dead=1)
    marked = [b"letter %d" % number for number in range(2001)]
    await admin.mark_requeued(marked)
    assert await admin.requeued([*marked, b"other"]) == frozenset(marked)
    assert not await admin.requeue(b"entry 0", letter=marked[-1])
    assert await queue.ledger() == Ledger(accepted=1, dead=1)
