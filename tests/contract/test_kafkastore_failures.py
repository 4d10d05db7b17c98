"""kafkastore is killed or stopped, or its broker does not respond: nothing is lost."""

import asyncio
import signal
import time

from deploy.develop.localstack import LocalStack
from services.backbone.queue import EventQueue
from tests.contract.kafkastore_bench import LEASE_S, Kafkastore, Topic, entries, readiness, steady, until


async def test_nothing_is_lost_when_kafkastore_is_killed(
    kafkastore: Kafkastore, queue: EventQueue, events: Topic
) -> None:
    batch = entries(12_000)
    pushed = list(batch.values())
    for at in range(0, len(pushed), 3000):
        await queue.push(pushed[at : at + 3000])
    kills = 0
    for produced_before_kill in (1, 4000, 8000):
        service = kafkastore(KAFKASTORE_BATCH_EVENTS="500")

        async def well_on_its_way(enough: int = produced_before_kill) -> bool:
            ledger = await queue.ledger()
            assert ledger.unaccounted == 0
            return (ledger.produced >= enough and ledger.claimed > 0) or ledger.waiting == 0

        await until(well_on_its_way, "some events are produced")
        service.kill()
        kills += (await queue.ledger()).waiting > 0
    assert kills > 0
    kafkastore()
    await steady(queue, produced=12_000)
    ids = await events.ids()
    assert set(ids) == set(batch)
    assert len(ids) < 12_000 + 500 * 4


async def test_hanging_broker_holds_two_batches(
    local_stack: LocalStack, kafkastore: Kafkastore, queue: EventQueue, events: Topic
) -> None:
    service = kafkastore(KAFKASTORE_BATCH_EVENTS="100")
    await asyncio.to_thread(service.wait_until_ready)
    await queue.push(list(entries(1).values()))
    await steady(queue, produced=1)
    batch = entries(1000)
    local_stack.kafka.process.send_signal(signal.SIGSTOP)
    try:
        await queue.push(list(batch.values()))

        async def not_ready() -> bool:
            body = await asyncio.to_thread(readiness, service)
            return body["status"] == "not ready" and not body["checks"]["kafka"]["ok"]

        await until(not_ready, "readiness reports Kafka")
        # Longer than the lease. The lease is renewed, so no instance reclaims the batch.
        await asyncio.sleep(LEASE_S + 1.5)
        ledger = await queue.ledger()
        assert (ledger.produced, ledger.claimed, ledger.listed) == (1, 200, 800)
        await queue.reclaim()
        assert (await queue.ledger()).claimed == 200
    finally:
        local_stack.kafka.process.send_signal(signal.SIGCONT)
    await steady(queue, produced=1001)
    assert set(batch) <= set(await events.ids())

    async def ready() -> bool:
        return await asyncio.to_thread(service.is_ready)

    await until(ready, "kafkastore is ready again")


async def test_stop_while_the_broker_hangs_gives_the_batch_back_and_exits_with_0(
    local_stack: LocalStack, kafkastore: Kafkastore, queue: EventQueue
) -> None:
    service = kafkastore()
    await asyncio.to_thread(service.wait_until_ready)
    local_stack.kafka.process.send_signal(signal.SIGSTOP)
    try:
        await queue.push(list(entries(10).values()))

        async def claimed() -> bool:
            return (await queue.ledger()).claimed == 10

        await until(claimed, "the batch is claimed")
        begin = time.monotonic()
        service.process.terminate()
        assert await asyncio.to_thread(service.process.wait, timeout_s=10.0) == 0
        assert time.monotonic() - begin < 10.0
        ledger = await queue.ledger()
        assert (ledger.listed, ledger.claimed, ledger.unaccounted) == (10, 0, 0)
    finally:
        local_stack.kafka.process.send_signal(signal.SIGCONT)


async def test_stop_under_load_loses_nothing_and_exits_with_0(
    kafkastore: Kafkastore, queue: EventQueue, events: Topic
) -> None:
    batch = entries(6000)
    await queue.push(list(batch.values()))
    service = kafkastore(KAFKASTORE_BATCH_EVENTS="300")

    async def begun() -> bool:
        return (await queue.ledger()).produced > 0

    await until(begun, "some events are produced")
    service.process.terminate()
    assert await asyncio.to_thread(service.process.wait, timeout_s=10.0) == 0
    ledger = await queue.ledger()
    assert (ledger.claimed, ledger.unaccounted) == (0, 0)
    assert len(await events.ids()) == ledger.produced
    kafkastore()
    await steady(queue, produced=6000)
    assert sorted(await events.ids()) == sorted(batch)
