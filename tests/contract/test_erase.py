"""The operators' command erases a device: its queued entries, its dead letters and its future events."""

import asyncio
import json
import time

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.redis import LocalRedis
from deploy.operate.queue_admin import QueueAdmin
from services.backbone import names
from services.backbone.dead_actions import DeadAction, DeadActions
from services.backbone.events import encode_raw
from services.backbone.queue import EventQueue, Ledger
from tests.contract.kafkastore_bench import (
    Command,
    Kafkastore,
    Topic,
    command_line,
    dead_letters_since,
    raw_event,
    steady,
)

DEVICE = "device/of someone-4711"
QUERY = b"kw=x&di=device%2Fof+someone-4711"
SOMEONE_ELSES = b"kw=x&di=device/of%20someone-4712"


def of_the_device(event_id: str, **changes: object) -> bytes:
    return encode_raw(raw_event(event_id, query=QUERY, **changes))


def of_another(event_id: str, **changes: object) -> bytes:
    return encode_raw(raw_event(event_id, query=SOMEONE_ELSES, **changes))


@pytest.fixture
def erasure(local_stack: LocalStack, redis_beside_the_tracker: LocalRedis) -> Command:
    return command_line(local_stack, redis_beside_the_tracker, "erase", "--id", DEVICE, "--yes")


async def test_erased_device_leaves_only_the_reported_data(
    local_stack: LocalStack,
    redis_beside_the_tracker: LocalRedis,
    kafkastore: Kafkastore,
    events: Topic,
    erasure: Command,
) -> None:
    can_delete = local_stack.kafka.kind == "apache"
    redis_beside_the_tracker.flush()
    redis = Redis.from_url(redis_beside_the_tracker.url)
    await redis.config_set("rdbcompression", "no")  # so that the test can search the file
    queue = EventQueue(redis)
    begun_ms = int(time.time() * 1000)
    service = kafkastore(IP_MODE="full")
    garbage = b"\x02 nobody reads di=" + b"device/of someone-4711"
    others = [of_another("other-dead", received_at_ms=-1), b"\x02 someone else's"]
    await queue.push([of_the_device("dead", received_at_ms=-1), garbage, of_the_device("there"), *others])
    await steady(queue, produced=1, dead=4)
    service.stop()
    before = {letter.entry: letter.record for letter in await dead_letters_since(local_stack, begun_ms)}
    assert len(before) == 4
    waiting = [of_another("w1"), of_the_device("w2"), of_the_device("w3"), of_another("w4")]
    await queue.push(waiting)

    printed = await erasure.run()

    after = {letter.entry: letter.record for letter in await dead_letters_since(local_stack, begun_ms)}
    if can_delete:
        assert printed.code == 0, printed.text
        assert "2 dead letters removed" in printed.text
        # Unchanged: value, key, headers, time.
        assert after == {entry: before[entry] for entry in others}
    else:
        assert printed.code == 1
        assert "2 letters stay in events.dead" in printed.text
        assert after == before
    assert "2 entries removed from the queue in Redis" in printed.text
    assert "until its retention" in printed.text
    assert [entry async for entry in QueueAdmin(redis).waiting()] == [waiting[0], waiting[3]]
    assert await queue.ledger() == Ledger(accepted=7, produced=1, dead=4, listed=2, erased=2)
    files = [path for path in redis_beside_the_tracker.process.cwd.rglob("*") if path.is_file()]
    assert any(b"someone-4712" in path.read_bytes() for path in files)
    assert not [path for path in files if b"someone-4711" in path.read_bytes()]

    service = kafkastore()
    await queue.push([of_the_device("late-1"), of_another("late-2"), of_the_device("late-3", received_at_ms=-1)])
    await steady(queue, produced=4, dead=4)
    assert await queue.ledger() == Ledger(accepted=8, produced=4, dead=4, erased=4)
    assert "push_kafkastore_events_erased_total 2.0" in await asyncio.to_thread(service.metrics)
    assert "there" in await events.ids()
    assert not {"w2", "w3", "late-1", "late-3"} & set(await events.ids())
    keys = [key async for key in redis.scan_iter()]
    assert names.ERASED_DEVICES.encode() in keys
    assert await redis.scard(names.ERASED_DEVICES) == 1
    assert not [member for member in await redis.smembers(names.ERASED_DEVICES) if len(member) != 16]
    await redis.config_set("rdbcompression", "yes")
    await redis.aclose()

    again = await erasure.run()
    assert again.code == (0 if can_delete else 1)
    assert "0 dead letters removed" in again.text
    assert "0 entries removed from the queue in Redis" in again.text


async def test_erase_waits_for_earlier_claims_and_reclaims_those_of_dead_instances(
    local_stack: LocalStack, redis_beside_the_tracker: LocalRedis, erasure: Command
) -> None:
    redis_beside_the_tracker.flush()
    async with Redis.from_url(redis_beside_the_tracker.url) as redis:
        dead = EventQueue(redis, instance="dead", lease_s=4.0)
        theirs = of_another("b")
        await dead.push([of_the_device("a"), theirs])
        assert await dead.claim(limit=10, max_bytes=10_000, wait_s=0) is not None
        printed = await erasure.run()
        # If the broker can't delete letters, the letters of the previous test are still in the topic.
        assert printed.code == (0 if local_stack.kafka.kind == "apache" else 1), printed.text
        assert "1 entries removed from the queue in Redis" in printed.text
        assert [entry async for entry in QueueAdmin(redis).waiting()] == [theirs]
        assert await dead.ledger() == Ledger(accepted=1, listed=1, erased=1)


async def test_dead_actions_of_the_device_are_erased(
    local_stack: LocalStack, redis_beside_the_tracker: LocalRedis, erasure: Command
) -> None:
    redis_beside_the_tracker.flush()
    async with Redis.from_url(redis_beside_the_tracker.url, decode_responses=True) as redis:
        dead = DeadActions(redis)
        for id_, device in (("one", DEVICE), ("two", "device/of someone-4712")):
            await dead.write(DeadAction("geo_updates", id_, json.dumps({"device": device}), "no"))
        printed = await erasure.run()
        # If the broker can't delete letters, the letters of the first test are still in the topic.
        assert printed.code == (0 if local_stack.kafka.kind == "apache" else 1), printed.text
        assert "1 dead and retried actions removed" in printed.text
        assert [action.id for action in await dead.find()] == ["two"]
    files = [path for path in redis_beside_the_tracker.process.cwd.rglob("*.aof") if path.is_file()]
    assert not [path for path in files if b"someone-4711" in path.read_bytes()]


async def test_erase_does_nothing_without_confirmation(
    local_stack: LocalStack, redis_beside_the_tracker: LocalRedis
) -> None:
    redis_beside_the_tracker.flush()
    for words, response in ((("--id", DEVICE), "confirm with --yes"), ((), "--id is missing")):
        printed = await command_line(local_stack, redis_beside_the_tracker, "erase", *words).run()
        assert printed.code == 1
        assert response in printed.text
    async with Redis.from_url(redis_beside_the_tracker.url) as redis:
        assert not await redis.exists(names.ERASED_DEVICES)


async def test_unreachable_redis_or_broker_is_in_the_error(erasure: Command) -> None:
    for variable, address in (
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("REDIS_URL", "redis://:secret@127.0.0.1:1/0"),
        ("ACTIONS_REDIS_URL", "redis://:secret@127.0.0.1:1/0"),
    ):
        printed = await Command(erasure.words, erasure.environ | {variable: address}).run()
        assert printed.code == 1
        assert "127.0.0.1:1" in printed.text
        assert "run the command again" in printed.text
        assert "secret" not in printed.text
        assert "Traceback" not in printed.text
