"""kafkastore with several Redis servers, with one that is down, and with one that may evict events."""

import asyncio
import signal
import uuid

from redis.asyncio import Redis

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.redis import LocalRedis
from services.backbone.queue import EventQueue
from tests.contract.kafkastore_bench import Kafkastore, Topic, entries, readiness, steady, until


async def test_one_process_serves_several_redis_servers_when_one_is_down(
    local_stack: LocalStack,
    redis_beside_the_tracker: LocalRedis,
    kafkastore: Kafkastore,
    queue: EventQueue,
    events: Topic,
) -> None:
    other = local_stack.start_redis(f"other-{uuid.uuid4().hex[:6]}")
    urls = f"{redis_beside_the_tracker.url},{other.url}"
    service = kafkastore(KAFKASTORE_REDIS_URLS=urls)
    await asyncio.to_thread(service.wait_until_ready)
    here, there = entries(30), entries(30)
    async with Redis.from_url(other.url) as redis:
        other_queue = EventQueue(redis)
        await queue.push(list(here.values()))
        await other_queue.push(list(there.values()))
        await steady(queue, produced=30)
        await steady(other_queue, produced=30)
    assert sorted(await events.ids()) == sorted([*here, *there])
    label = other.url.removeprefix("redis://")
    metrics = await asyncio.to_thread(service.metrics)
    assert f'push_ledger_events{{redis="{label}",state="produced"}} 30.0' in metrics
    assert f'push_ledger_events{{redis="{label}",state="waiting"}} 0.0' in metrics
    assert "push_kafkastore_geoip_loaded 1.0" in metrics

    other.process.kill()
    more = entries(30)
    await queue.push(list(more.values()))
    await steady(queue, produced=60)
    body = await asyncio.to_thread(readiness, service)
    assert not body["checks"][f"redis {label}"]["ok"]
    assert f'redis="{label}"' not in await asyncio.to_thread(service.metrics)

    other.start()
    other.wait_ready()
    async with Redis.from_url(other.url) as redis:
        other_queue = EventQueue(redis)
        await other_queue.push(list(entries(5).values()))

        async def is_empty() -> bool:
            ledger = await other_queue.ledger()
            return ledger.waiting == 0 and ledger.unaccounted == 0

        await until(is_empty, "the restarted Redis is drained")


async def test_redis_with_eviction_is_rejected_at_the_start(
    redis_beside_the_tracker: LocalRedis, kafkastore: Kafkastore, queue: EventQueue
) -> None:
    await queue.push(list(entries(3).values()))
    async with Redis.from_url(redis_beside_the_tracker.url) as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            service = kafkastore()
            assert await asyncio.to_thread(service.process.wait, timeout_s=20.0) == 78
        finally:
            await redis.config_set("maxmemory-policy", "noeviction")
    printed = service.process.log_tail(40)
    assert "maxmemory-policy is allkeys-lru" in printed
    assert redis_beside_the_tracker.url.removeprefix("redis://") in printed
    assert "Traceback" not in printed
    ledger = await queue.ledger()
    assert (ledger.listed, ledger.claimed) == (3, 0)


async def test_redis_with_eviction_is_rejected_when_it_starts_later(
    local_stack: LocalStack, kafkastore: Kafkastore
) -> None:
    late = local_stack.start_redis(f"late-{uuid.uuid4().hex[:6]}")
    async with Redis.from_url(late.url) as redis:
        await EventQueue(redis).push(list(entries(3).values()))
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        late.process.send_signal(signal.SIGSTOP)
        service = kafkastore(REDIS_URL=late.url)
        try:

            async def away() -> bool:
                return await asyncio.to_thread(lambda: "redis_unavailable" in service.log.read_text())

            await until(away, "it has not connected to any Redis")
            assert service.is_alive
        finally:
            late.process.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(service.process.wait, timeout_s=30.0) == 78
        ledger = await EventQueue(redis).ledger()
        assert (ledger.listed, ledger.claimed) == (3, 0)
    late.process.stop()
