import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.asyncio import Redis

from deploy.operate.queue_admin import QueueAdmin
from services.backbone import names
from services.backbone.queue import Claim, EventQueue, EvictionAllowed, Ledger, QueueError, refuse_eviction

MUCH = 1_000_000


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url) as client:
        await client.flushdb()
        yield client


@pytest.fixture
def queue(redis: Redis) -> EventQueue:
    return EventQueue(redis, instance="one")


def entries(count: int, *, begin: int = 0) -> list[bytes]:
    return [b"entry %d" % number for number in range(begin, begin + count)]


async def take(queue: EventQueue, limit: int = 3000) -> Claim:
    claim = await queue.claim(limit=limit, max_bytes=MUCH, wait_s=0)
    assert claim is not None
    return claim


async def end_leases(redis: Redis) -> None:
    claims: Any = await redis.zrange(names.CLAIM_LEASES, 0, -1)
    for claim in claims:
        await redis.zadd(names.CLAIM_LEASES, {claim: 1})


async def test_entries_are_claimed_in_the_order_of_pushes(queue: EventQueue) -> None:
    await queue.push(entries(1000))
    assert (await take(queue, limit=600)).entries == entries(600)
    assert (await take(queue, limit=600)).entries == entries(400, begin=600)
    assert await queue.claim(limit=1, max_bytes=MUCH, wait_s=0) is None


async def test_any_bytes_survive(queue: EventQueue) -> None:
    odd = [b"", b"\0", b"\xff\xfe", b"\r\n", bytes(range(256))]
    await queue.push(odd)
    assert (await take(queue)).entries == odd


async def test_claim_ends_when_it_holds_enough_bytes(queue: EventQueue) -> None:
    await queue.push([b"x" * 1000] * 2000)
    assert len((await take_bytes(queue, 300_000)).entries) == 300


async def test_claim_exceeds_its_bytes_by_one_entry_at_most(queue: EventQueue) -> None:
    large = b"x" * 100_000
    await queue.push([*entries(300), *[large] * 300])
    claim = await take_bytes(queue, 250_000)
    assert claim.entries[:300] == entries(300)
    assert 250_000 <= sum(map(len, claim.entries)) < 350_000
    claim = await take_bytes(queue, 250_000)
    assert claim.entries == [large] * 3


async def take_bytes(queue: EventQueue, max_bytes: int) -> Claim:
    claim = await queue.claim(limit=2000, max_bytes=max_bytes, wait_s=0)
    assert claim is not None
    return claim


async def test_single_entry_is_claimed_at_once(queue: EventQueue, redis: Redis) -> None:
    took_s = []
    for _ in range(3):
        waiting = asyncio.create_task(queue.claim(limit=3000, max_bytes=MUCH, wait_s=10))
        await wait_for_blocked_client(redis)
        began = asyncio.get_running_loop().time()
        await EventQueue(redis).push(entries(1))
        claim = await waiting
        took_s.append(asyncio.get_running_loop().time() - began)
        assert claim is not None
        assert claim.entries == entries(1)
        assert await queue.confirm(claim, produced=1, dead=0)
    assert min(took_s) < 0.5


async def test_claim_of_an_empty_queue_waits_for_its_time_limit(queue: EventQueue) -> None:
    assert await queue.claim(limit=1, max_bytes=MUCH, wait_s=0.1) is None


async def test_confirmed_claim_is_gone_and_in_the_ledger(queue: EventQueue, redis: Redis) -> None:
    await queue.push(entries(10))
    claim = await take(queue)
    assert await queue.ledger() == Ledger(accepted=10, claimed=10)
    assert await queue.confirm(claim, produced=8, dead=2)
    assert await queue.ledger() == Ledger(accepted=10, produced=8, dead=2)
    assert await redis.exists(claim.key) == 0


async def test_claim_of_a_dead_instance_goes_back_in_order(queue: EventQueue, redis: Redis) -> None:
    await queue.push(entries(10))
    dead = await take(queue, limit=6)
    assert await queue.reclaim() == 0
    await end_leases(redis)
    assert await queue.reclaim() == 6
    assert not await queue.confirm(dead, produced=6, dead=0)
    assert (await take(EventQueue(redis, instance="two"))).entries == entries(10)
    assert (await queue.ledger()).unaccounted == 0


async def test_renewed_claim_is_not_taken_back(redis: Redis) -> None:
    queue = EventQueue(redis, instance="one", lease_s=1)
    await queue.push(entries(2))
    kept, lost = await take(queue, limit=1), await take(queue, limit=1)
    await end_leases(redis)
    assert await queue.renew([kept])
    assert await queue.reclaim() == 1
    assert not await queue.renew([kept, lost])
    assert await queue.renew([])
    assert await queue.confirm(kept, produced=1, dead=0)


async def test_leases_expire_by_the_clock_of_the_server(redis: Redis) -> None:
    queue = EventQueue(redis, instance="one", lease_s=0.2)
    await queue.push(entries(1))
    await take(queue)
    await asyncio.sleep(0.3)
    assert await queue.reclaim() == 1


async def test_given_back_entries_are_claimed_first(queue: EventQueue) -> None:
    await queue.push(entries(5))
    claim = await take(queue, limit=3)
    assert await queue.give_back(claim) == 3
    assert await queue.give_back(claim) == 0
    assert (await take(queue)).entries == entries(5)


async def test_claim_with_a_lost_response_is_not_part_of_a_later_claim(queue: EventQueue, redis: Redis) -> None:
    # It may reach Redis after the claim that replaced it. The confirmation of that claim must not remove its entries.
    await queue.push(entries(8))
    claim = await take(queue, limit=3)
    unheard = await queue._take(limit=6, max_bytes=MUCH)
    assert unheard.entries == entries(5, begin=3)
    assert await queue.confirm(claim, produced=3, dead=0)
    await end_leases(redis)
    assert await queue.reclaim() == 5
    assert (await take(queue)).entries == entries(5, begin=3)
    assert (await queue.ledger()).unaccounted == 0


async def test_full_redis_rejects_pushes_and_allows_claims(queue: EventQueue, redis: Redis) -> None:
    await queue.push(entries(600))
    first = await take(queue, limit=100)
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueError):
            await queue.push(entries(1), producer_id="a", sequence=1)
        second = await take(queue, limit=300)
        assert await queue.renew([first, second])
        assert await queue.confirm(first, produced=100, dead=0)
        assert await queue.give_back(second) == 300
        dead = EventQueue(redis, instance="dead", lease_s=0.05)
        assert (await take(dead)).entries == entries(500, begin=100)
        back = 0
        for _ in range(500):
            back = back or await queue.reclaim()
            await asyncio.sleep(0 if back else 0.01)
        assert back == 500
        assert (await take(queue)).entries == entries(500, begin=100)
    finally:
        await redis.config_set("maxmemory", 0)
    assert (await queue.ledger()).unaccounted == 0


async def test_waiting_moves_nothing(queue: EventQueue, redis: Redis) -> None:
    # Otherwise an instance that is frozen while it waits could take an entry under an expired lease. If it died, no
    # instance would reclaim the entry.
    waiting = asyncio.create_task(queue._anything_within(10))
    await wait_for_blocked_client(redis)
    await queue.push(entries(3))
    assert await waiting
    assert await redis.lrange(names.RAW_EVENTS_LIST, 0, -1) == entries(3)
    assert await redis.zcard(names.CLAIM_LEASES) == 0
    ledger = await queue.ledger()
    assert (ledger.listed, ledger.claimed, ledger.unaccounted) == (3, 0, 0)


async def test_all_waiting_claims_are_woken(redis: Redis) -> None:
    waiting = [
        asyncio.create_task(EventQueue(redis, instance=name).claim(limit=1, max_bytes=MUCH, wait_s=10))
        for name in ("one", "two")
    ]
    await wait_for_blocked_client(redis, count=2)
    await EventQueue(redis).push(entries(2))
    claims = await asyncio.gather(*waiting)
    assert sorted(claim.entries for claim in claims if claim) == [[entry] for entry in entries(2)]


async def wait_for_blocked_client(redis: Redis, count: int = 1) -> None:
    async with asyncio.timeout(5):
        while (await redis.info("clients"))["blocked_clients"] < count:  # noqa: ASYNC110 - Redis sends no event for this
            await asyncio.sleep(0.005)


async def test_every_entry_is_confirmed_once_when_instances_die(redis: Redis) -> None:
    pushed, produced = entries(3000), Counter[bytes]()

    async def push() -> None:
        tracker = EventQueue(redis)
        for begin in range(0, len(pushed), 50):
            await tracker.push(pushed[begin : begin + 50])
            await asyncio.sleep(0)

    async def drain(name: str, chance: random.Random) -> None:
        queue = EventQueue(redis, instance=name, lease_s=0.1)
        while (ledger := await queue.ledger()).waiting or ledger.accepted < len(pushed):
            assert ledger.unaccounted == 0
            await queue.reclaim()
            claim = await queue.claim(limit=chance.randint(1, 200), max_bytes=MUCH, wait_s=0.02)
            if claim is None:
                continue
            fate = chance.random()
            if fate < 0.2:  # the instance dies, and a new one replaces it
                queue = EventQueue(redis, instance=f"{name}-{chance.random()}", lease_s=0.1)
            elif fate < 0.3:
                await queue.give_back(claim)
            elif await queue.confirm(claim, produced=len(claim.entries), dead=0):
                produced.update(claim.entries)

    await redis.flushdb()
    drains = (drain(f"drain-{seed}", random.Random(seed)) for seed in range(4))
    await asyncio.gather(push(), *drains)
    assert produced == Counter(pushed)
    assert await EventQueue(redis).ledger() == Ledger(accepted=3000, produced=3000)


async def test_push_with_a_sequence_is_stored_once(queue: EventQueue, redis: Redis) -> None:
    assert await queue.push(entries(2), producer_id="a", sequence=1)
    assert not await queue.push(entries(2), producer_id="a", sequence=1)
    assert await queue.push(entries(1, begin=2), producer_id="b", sequence=1)
    assert await queue.push(entries(600, begin=3), producer_id="a", sequence=7)
    assert not await queue.push(entries(2), producer_id="a", sequence=6)
    assert (await take(queue)).entries == entries(603)
    assert (await queue.ledger()).accepted == 603
    assert 86_000 < await redis.ttl(names.producer_key("a")) <= 86_400


async def test_failed_push_does_not_use_its_sequence(queue: EventQueue, redis: Redis) -> None:
    await redis.set(names.RAW_EVENTS_LIST, "no list")
    with pytest.raises(QueueError):
        await queue.push(entries(2), producer_id="a", sequence=1)
    await redis.delete(names.RAW_EVENTS_LIST)
    assert await queue.push(entries(2), producer_id="a", sequence=1)
    assert (await take(queue)).entries == entries(2)


async def test_claim_contains_the_number_of_erased_devices(queue: EventQueue, redis: Redis) -> None:
    await queue.push(entries(3))
    assert (await take(queue, limit=1)).erased == 0
    await redis.sadd(names.ERASED_DEVICES, b"digest")
    claim = await take(queue, limit=1)
    assert claim.erased == 1
    assert await queue.erased() == {b"digest"}
    assert await queue.confirm(claim, produced=0, dead=0, erased=1)
    ledger = await queue.ledger()
    assert (ledger.accepted, ledger.erased, ledger.unaccounted) == (2, 1, 0)


async def test_check_raises_when_redis_rejects_writes(queue: EventQueue, redis: Redis) -> None:
    await queue.check_writable()
    assert await queue.ledger() == Ledger()
    await redis.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(QueueError, match="NOREPLICAS"):
            await queue.check_writable()
    finally:
        await redis.config_set("min-replicas-to-write", 0)


async def test_redis_with_eviction_is_rejected(redis: Redis) -> None:
    await refuse_eviction(redis)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(EvictionAllowed, match="maxmemory-policy is allkeys-lru"):
            await refuse_eviction(redis)
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")


class QueueMachine(RuleBasedStateMachine):
    """Any sequence of steps of two instances: the list equals the model, and the ledger balances after each step."""

    call: Callable[[Any], Any]
    redis: Redis

    @initialize()
    def begin(self) -> None:
        self.call(self.redis.flushdb())
        self.queues = [EventQueue(self.redis, instance=name, lease_s=3600) for name in ("one", "two")]
        self.admin = QueueAdmin(self.redis)
        self.listed: list[bytes] = []
        self.claims: list[tuple[EventQueue, Claim]] = []
        self.lost: list[Claim] = []
        self.pushed = self.produced = self.dead = self.erased = self.number = self.replayed = 0

    @rule(count=st.integers(1, 700))
    def push(self, count: int) -> None:
        pushed = entries(count, begin=self.pushed)
        self.number += 1
        assert self.call(self.queues[0].push(pushed, producer_id="tracker", sequence=self.number))
        self.listed += pushed
        self.pushed += count

    @precondition(lambda self: self.number)
    @rule(back=st.integers(0, 3))
    def push_again(self, back: int) -> None:
        number = max(1, self.number - back)
        assert not self.call(self.queues[1].push([b"copy"], producer_id="tracker", sequence=number))

    @precondition(lambda self: self.dead)
    @rule(again=st.booleans())
    def replay(self, *, again: bool) -> None:
        self.replayed += 1
        entry, letter = b"replayed %d" % self.replayed, b"letter %d" % self.replayed
        assert self.call(self.admin.requeue(entry, letter=letter))
        if again:
            assert not self.call(self.admin.requeue(entry, letter=letter))
        self.listed.append(entry)
        self.dead -= 1

    @precondition(lambda self: self.listed)
    @rule(which=st.integers(0))
    def erase_waiting(self, which: int) -> None:
        entry = self.listed.pop(which % len(self.listed))
        assert self.call(self.admin.remove([entry, b"never there"])) == 1
        self.erased += 1

    @rule(who=st.integers(0, 1), limit=st.integers(1, 700))
    def claim(self, who: int, limit: int) -> None:
        claim = self.call(self.queues[who].claim(limit=limit, max_bytes=MUCH, wait_s=0))
        assert (claim.entries if claim else []) == self.listed[:limit]
        if claim:
            self.claims.append((self.queues[who], claim))
            del self.listed[:limit]

    @precondition(lambda self: self.claims)
    @rule(which=st.integers(0), share=st.floats(0, 1), drop=st.booleans())
    def confirm(self, which: int, share: float, *, drop: bool) -> None:
        queue, claim = self.claims.pop(which % len(self.claims))
        dead = int(len(claim.entries) * share)
        produced = len(claim.entries) - dead
        erased = produced // 2 if drop else 0
        assert self.call(queue.confirm(claim, produced=produced - erased, dead=dead, erased=erased))
        self.produced += produced - erased
        self.dead += dead
        self.erased += erased

    @precondition(lambda self: self.claims)
    @rule(which=st.integers(0), by_lease=st.booleans())
    def come_back(self, which: int, *, by_lease: bool) -> None:
        queue, claim = self.claims.pop(which % len(self.claims))
        if by_lease:
            self.call(self.redis.zadd(names.CLAIM_LEASES, {claim.key: 1}))
            returned = self.call(self.queues[0].reclaim())
        else:
            returned = self.call(queue.give_back(claim))
        assert returned == len(claim.entries)
        self.listed[:0] = claim.entries
        self.lost.append(claim)

    @precondition(lambda self: self.lost)
    @rule()
    def zombie_confirms(self) -> None:
        claim = self.lost.pop()
        assert not self.call(self.queues[0].confirm(claim, produced=len(claim.entries), dead=0))

    @invariant()
    def ledger_balances(self) -> None:
        ledger = self.call(self.queues[0].ledger())
        claimed = sum(len(claim.entries) for _, claim in self.claims)
        accepted = self.pushed - self.erased
        assert ledger == Ledger(accepted, self.produced, self.dead, len(self.listed), claimed, self.erased)
        assert ledger.unaccounted == 0


def test_any_sequence_of_steps_keeps_order_and_balance(redis_server: Any) -> None:
    with asyncio.Runner() as runner:
        client = Redis.from_url(redis_server.url)
        machine = type("Machine", (QueueMachine,), {"call": staticmethod(runner.run), "redis": client})
        few = settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        )
        run_state_machine_as_test(machine, settings=few)
        runner.run(client.aclose())
