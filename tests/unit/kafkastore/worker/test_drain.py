import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from deploy.develop.localstack.redis import LocalRedis
from deploy.operate.queue_admin import QueueAdmin
from services.backbone import names
from services.backbone.events import RawEvent, encode_raw
from services.backbone.kafka import EventProducer, KafkaUnavailable, Record
from services.backbone.queue import Claim, EventQueue, EvictionAllowed, Ledger, refuse_eviction
from services.kafkastore.core.entries import FailedEntry
from services.kafkastore.metrics import Metrics
from services.kafkastore.settings import Settings
from services.kafkastore.worker.batch import ClaimedBatch
from services.kafkastore.worker.drain import Drain


class ScriptedProducer(EventProducer):
    """Keeps the produced records. It fails, or returns records as too large, as a test sets."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.written: list[tuple[str, Record]] = []
        self.failures_to_come = 0
        self.limit_bytes = 1000

    async def produce(self, topic: str, records: Sequence[Record]) -> list[int]:
        await asyncio.sleep(0)
        if self.failures_to_come:
            self.failures_to_come -= 1
            raise KafkaUnavailable("away")
        too_large = [at for at, record in enumerate(records) if len(record.value) > self.limit_bytes]
        self.written += [(topic, record) for at, record in enumerate(records) if at not in too_large]
        return too_large

    def values(self, topic: str) -> list[bytes]:
        return [record.value for written_to, record in self.written if written_to == topic]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


class Scene:
    """A drain on a real Redis."""

    def __init__(self, redis: Redis, **env: str) -> None:
        settings = Settings.from_env({"KAFKASTORE_LEASE_S": "3", "IP_MODE": "full"} | env)
        self.registry = CollectorRegistry()
        self.queue = EventQueue(redis, instance="mine", lease_s=3.0)
        self.other = EventQueue(redis, instance="other", lease_s=3.0)
        self.producer = ScriptedProducer(settings)
        self.drain = Drain(
            self.queue,
            self.producer,
            prepare,
            settings,
            Metrics(self.registry),
            label="here",
            approve_redis=partial(refuse_eviction, redis),
        )

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"push_kafkastore_{name}_total", labels) or 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        stop = asyncio.Event()
        task = asyncio.create_task(self.drain.run(stop))
        try:
            yield task
        finally:
            stop.set()
            await asyncio.wait([task], timeout=5.0)
            assert task.done()

    async def wait_until_steady(self) -> None:
        async def steady() -> bool:
            ledger = await self.queue.ledger()
            assert ledger.unaccounted == 0
            return not ledger.waiting

        await until(steady)


def prepare(entry: bytes, now_ms: int, erased: frozenset[bytes]) -> Record | FailedEntry | None:
    if entry in erased:
        return None
    if b"poison" in entry:
        return FailedEntry(entry, "decode", "poison")
    return Record(entry, None, (), now_ms)


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url) as client:
        yield client


async def test_rejected_batch_is_retried_completely(redis: Redis) -> None:
    scene = Scene(redis)
    scene.producer.failures_to_come = 3
    await scene.queue.push([b"a", b"poison", b"b"])
    async with scene.running():
        await scene.wait_until_steady()
    assert scene.producer.values(names.EVENTS_TOPIC) == [b"a", b"b"]
    [(_, letter)] = [written for written in scene.producer.written if written[0] == names.DEAD_LETTER_TOPIC]
    assert letter.value == b"poison"
    assert dict(letter.headers)[names.HEADER_DEAD_ATTEMPT] == b"1"  # it failed before the first attempt to produce
    ledger = await scene.queue.ledger()
    assert (ledger.produced, ledger.dead) == (2, 1)
    assert scene.metric("ship_failures") == 3
    assert scene.metric("events_produced") == 2
    assert scene.metric("events_dead", stage="decode") == 1


async def test_dead_letters_are_acknowledged_before_the_confirmation(redis: Redis) -> None:
    scene = Scene(redis)
    produce = scene.producer.produce
    claimed: list[int] = []

    async def looking(topic: str, records: Sequence[Record]) -> list[int]:
        too_large = await produce(topic, records)
        claimed.append((await scene.other.ledger()).claimed)
        return too_large

    scene.producer.produce = looking  # type: ignore[method-assign]
    await scene.queue.push([b"poison"])
    async with scene.running():
        await scene.wait_until_steady()
    assert claimed == [1]


async def test_too_large_record_becomes_a_dead_letter_and_is_truncated_if_necessary(redis: Redis) -> None:
    scene = Scene(redis)
    scene.producer.limit_bytes = 20_000
    await scene.queue.push([b"x" * 30_000, b"a"])
    async with scene.running():
        await scene.wait_until_steady()
    assert scene.producer.values(names.EVENTS_TOPIC) == [b"a"]
    [(_, letter)] = [written for written in scene.producer.written if written[0] == names.DEAD_LETTER_TOPIC]
    assert letter.value == b"x" * 16_384
    headers = dict(letter.headers)
    assert headers[names.HEADER_DEAD_STAGE] == b"produce"
    assert headers[names.HEADER_DEAD_REASON] == b"record is too large for the topic (cut from 30000 bytes)"


async def test_batch_held_too_long_goes_back_to_the_list(redis: Redis) -> None:
    scene = Scene(redis, KAFKASTORE_HOLD_S="0.3")
    scene.producer.failures_to_come = 10_000
    await scene.queue.push([b"a", b"b"])
    returned = asyncio.Event()
    give_back = scene.queue.give_back

    async def watched(claim: Claim) -> int:
        entries = await give_back(claim)
        returned.set()
        return entries

    scene.queue.give_back = watched  # type: ignore[method-assign]
    async with scene.running():
        await asyncio.wait_for(returned.wait(), 5.0)
    ledger = await scene.queue.ledger()
    assert (ledger.waiting, ledger.unaccounted) == (2, 0)
    scene.producer.failures_to_come = 0
    async with scene.running():
        await scene.wait_until_steady()
    assert scene.producer.values(names.EVENTS_TOPIC) == [b"a", b"b"]


async def test_lease_lost_while_shipping_is_counted_and_the_ledger_balances(redis: Redis) -> None:
    scene = Scene(redis)
    robbed = False

    async def rob() -> None:
        claims: Any = await redis.zrange(names.CLAIM_LEASES, 0, -1)
        await redis.zadd(names.CLAIM_LEASES, {claim.decode(): 1 for claim in claims})
        assert await scene.other.reclaim() == 1

    produce = scene.producer.produce

    async def robbing(topic: str, records: Sequence[Record]) -> list[int]:
        nonlocal robbed
        if not robbed:
            robbed = True
            await rob()
        return await produce(topic, records)

    scene.producer.produce = robbing  # type: ignore[method-assign]
    await scene.queue.push([b"a"])
    async with scene.running():
        await scene.wait_until_steady()
    assert scene.metric("leases_lost") == 1
    assert scene.producer.values(names.EVENTS_TOPIC) == [b"a", b"a"]
    ledger = await scene.queue.ledger()
    assert (ledger.produced, ledger.unaccounted) == (1, 0)


async def test_failed_confirmation_is_retried_without_loss(redis: Redis) -> None:
    scene = Scene(redis)
    confirm, failures = scene.queue.confirm, 2

    async def unheard(claim: Claim, *, produced: int, dead: int, erased: int = 0) -> bool:
        nonlocal failures
        held = await confirm(claim, produced=produced, dead=dead, erased=erased)
        if failures:
            failures -= 1
            raise RedisConnectionError
        return held

    scene.queue.confirm = unheard  # type: ignore[method-assign]
    await scene.queue.push([b"a"])
    async with scene.running():
        await scene.wait_until_steady()

        async def heard() -> bool:
            return scene.metric("events_produced") > 0

        await until(heard)
    assert scene.producer.values(names.EVENTS_TOPIC) == [b"a"]
    assert scene.metric("leases_lost") == 0
    assert (await scene.queue.ledger()).produced == 1


async def test_claim_of_a_dead_instance_is_reclaimed(redis: Redis) -> None:
    scene = Scene(redis)
    await scene.queue.push([b"a", b"b"])
    dead = EventQueue(redis, instance="dead", lease_s=0.05)
    assert await dead.claim(limit=10, max_bytes=1000, wait_s=0) is not None
    await asyncio.sleep(0.1)
    async with scene.running():
        await scene.wait_until_steady()
    assert scene.producer.values(names.EVENTS_TOPIC) == [b"a", b"b"]
    assert scene.metric("events_reclaimed") == 2


async def test_cancelled_drain_gives_its_batch_back(redis: Redis) -> None:
    scene = Scene(redis)
    hanging = asyncio.Event()

    async def hang(topic: str, records: Sequence[Record]) -> list[int]:
        hanging.set()
        await asyncio.Event().wait()
        return [len(topic), len(records)]

    scene.producer.produce = hang  # type: ignore[method-assign]
    await scene.queue.push([b"a", b"b"])
    async with scene.running() as task:
        await asyncio.wait_for(hanging.wait(), 5.0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    ledger = await scene.queue.ledger()
    assert (ledger.listed, ledger.claimed) == (2, 0)


async def test_claim_with_a_lost_response_does_not_contain_later_entries(redis: Redis) -> None:
    # The lease must return the entries of the first claim. The confirmation of the second must not remove them.
    scene = Scene(redis)
    take, lost = scene.queue._take, False

    async def losing(*, limit: int, max_bytes: int) -> Claim:
        nonlocal lost
        claim = await take(limit=limit, max_bytes=max_bytes)
        if claim.entries and not lost:
            lost = True
            raise RedisConnectionError
        return claim

    scene.queue._take = losing  # type: ignore[method-assign]
    await scene.queue.push([b"a"])
    async with scene.running():

        async def is_lost() -> bool:
            return lost

        await until(is_lost)
        await scene.queue.push([b"b"])
        await scene.wait_until_steady()
    assert sorted(scene.producer.values(names.EVENTS_TOPIC)) == [b"a", b"b"]
    assert (await scene.queue.ledger()).produced == 2


async def test_erased_device_is_dropped_from_the_next_claim_and_the_set_is_read_once(
    redis: Redis,
) -> None:
    scene = Scene(redis)
    erased, reads = scene.queue.erased, 0

    async def counting() -> frozenset[bytes]:
        nonlocal reads
        reads += 1
        if reads == 1:
            raise RedisConnectionError
        return await erased()

    scene.queue.erased = counting  # type: ignore[method-assign]
    await scene.queue.push([b"a", b"b"])
    async with scene.running():
        await scene.wait_until_steady()
        assert reads == 0
        await QueueAdmin(redis).erase(b"a")
        await scene.queue.push([b"a", b"c", b"poison", b"a"])
        await scene.wait_until_steady()
        await scene.queue.push([b"a", b"d"])
        await scene.wait_until_steady()

        async def counted() -> bool:
            return scene.metric("events_erased") == 3

        await until(counted)
    assert reads == 2
    assert scene.producer.values(names.EVENTS_TOPIC) == [b"a", b"b", b"c", b"d"]
    assert await scene.queue.ledger() == Ledger(accepted=5, produced=4, dead=1, erased=3)


async def test_redis_with_eviction_is_not_claimed_from(redis: Redis) -> None:
    scene = Scene(redis)
    await scene.queue.push([b"a"])
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(EvictionAllowed):
            await scene.drain.run(asyncio.Event())
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
    assert (await scene.queue.ledger()).listed == 1


async def test_confirmed_batch_is_freed_without_garbage_collection(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Cyclic GC runs rarely, and a batch that waits for it keeps thousands of events in memory.
    made: list[weakref.ref[ClaimedBatch]] = []

    class Watched(ClaimedBatch):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(weakref.ref(self))

    monkeypatch.setattr("services.kafkastore.worker.drain.ClaimedBatch", Watched)
    scene = Scene(redis, KAFKASTORE_BATCH_EVENTS="10")
    await scene.queue.push([b"entry %d" % number for number in range(100)])
    gc.collect()
    gc.disable()
    try:
        async with scene.running():
            await scene.wait_until_steady()
        assert len(made) == 10
        assert [batch() for batch in made] == [None] * 10
    finally:
        gc.enable()


async def test_batches_are_written_in_order_while_the_next_is_prepared(redis: Redis) -> None:
    scene = Scene(redis, KAFKASTORE_BATCH_EVENTS="10")
    scene.producer.failures_to_come = 3
    entries = [b"entry %03d" % number for number in range(95)]
    await scene.queue.push(entries)
    async with scene.running():
        await scene.wait_until_steady()
    assert scene.producer.values(names.EVENTS_TOPIC) == entries
    assert scene.metric("events_claimed") == 95


async def test_given_back_batches_keep_their_order(redis: Redis) -> None:
    scene = Scene(redis, KAFKASTORE_BATCH_EVENTS="10")
    scene.producer.failures_to_come = 1000
    entries = [b"entry %03d" % number for number in range(35)]
    await scene.queue.push(entries)
    async with scene.running():

        async def two_are_in_hand() -> bool:
            return len(await QueueAdmin(redis).claims()) == 2

        await until(two_are_in_hand)
    ledger = await scene.queue.ledger()
    assert (ledger.waiting, ledger.claimed) == (35, 0)
    assert [entry async for entry in QueueAdmin(redis).waiting()] == entries


async def test_dead_letter_is_logged_with_its_id_and_without_personal_data(redis: Redis) -> None:
    scene = Scene(redis, IP_MODE="truncated")
    person = {"address": "198.51.100.7", "query": b"di=device-9", "user_agent": b"agent", "referrer": b"page"}
    doomed = RawEvent(id="0199-e1", received_at_ms=1, host=b"h", pod="p", path=b"/poison", **person)  # type: ignore[arg-type]  # as they are
    with structlog.testing.capture_logs() as logs:
        await scene.queue.push([encode_raw(doomed), b"poison"])
        async with scene.running():
            await scene.wait_until_steady()
    printed = [line for line in logs if line["event"] == "entry_dead"]
    assert [line["id"] for line in printed] == ["0199-e1", ""]
    for secret in ("198.51.100", "device-9", "agent", "page"):
        assert secret not in str(printed)
