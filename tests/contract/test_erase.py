"""A device is forgotten by the operators' command: what waits, what died, and what it sends from then on."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.events import encode_raw
from services.backbone.queue import Books, EventQueue
from tests.contract.kafkastore_bench import (
    Command,
    Kafkastore,
    Topic,
    command_line,
    letters_since,
    raw_event,
    settled,
)

DEVICE = "device/of someone-4711"
QUERY = b"kw=x&di=device%2Fof+someone-4711"
SOMEONE_ELSES = b"kw=x&di=device/of%20someone-4712"


def of_the_device(event_id: str, **changes: object) -> bytes:
    return encode_raw(raw_event(event_id, query=QUERY, **changes))


def of_another(event_id: str, **changes: object) -> bytes:
    return encode_raw(raw_event(event_id, query=SOMEONE_ELSES, **changes))


@pytest.fixture
def forgetting(local_stack: LocalStack, redis_beside_the_tracker: LocalRedis) -> Command:
    return command_line(local_stack, redis_beside_the_tracker, "erase", "--id", DEVICE, "--yes")


async def test_a_forgotten_device_leaves_nothing_behind_but_what_the_command_names(
    local_stack: LocalStack,
    redis_beside_the_tracker: LocalRedis,
    kafkastore: Kafkastore,
    events: Topic,
    forgetting: Command,
) -> None:
    can_delete = local_stack.kafka.kind == "apache"
    redis_beside_the_tracker.flush()
    redis = Redis.from_url(redis_beside_the_tracker.url)
    await redis.config_set("rdbcompression", "no")  # so that its file can be searched
    queue = EventQueue(redis)
    begun_ms = int(time.time() * 1000)
    service = kafkastore(IP_MODE="full")
    garbage = b"\x02 nobody reads di=" + b"device/of someone-4711"
    others = [of_another("other-dead", received_at_ms=-1), b"\x02 someone else's"]
    await queue.push([of_the_device("dead", received_at_ms=-1), garbage, of_the_device("there"), *others])
    await settled(queue, produced=1, dead=4)
    service.stop()
    before = {letter.entry: letter.record for letter in await letters_since(local_stack, begun_ms)}
    assert len(before) == 4
    waiting = [of_another("w1"), of_the_device("w2"), of_the_device("w3"), of_another("w4")]
    await queue.push(waiting)

    said = await forgetting.run()

    after = {letter.entry: letter.record for letter in await letters_since(local_stack, begun_ms)}
    if can_delete:
        assert said.code == 0, said.text
        assert "2 dead letters removed" in said.text
        # As they were: value, key, headers, time.
        assert after == {entry: before[entry] for entry in others}
    else:
        assert said.code == 1
        assert "2 letters of the device stay in events.dead" in said.text
        assert after == before
    assert "2 entries removed that waited in Redis" in said.text
    assert "until its retention" in said.text
    assert [entry async for entry in queue.waiting()] == [waiting[0], waiting[3]]
    assert await queue.books() == Books(accepted=7, produced=1, dead=4, listed=2, forgotten=2)
    files = [path for path in redis_beside_the_tracker.process.cwd.rglob("*") if path.is_file()]
    assert any(b"someone-4712" in path.read_bytes() for path in files)
    assert not [path for path in files if b"someone-4711" in path.read_bytes()]

    service = kafkastore()
    await queue.push([of_the_device("late-1"), of_another("late-2"), of_the_device("late-3", received_at_ms=-1)])
    await settled(queue, produced=4, dead=4)
    assert await queue.books() == Books(accepted=8, produced=4, dead=4, forgotten=4)
    assert "push_kafkastore_events_forgotten_total 2.0" in await asyncio.to_thread(service.metrics)
    assert "there" in await events.ids()
    assert not {"w2", "w3", "late-1", "late-3"} & set(await events.ids())
    keys = [key async for key in redis.scan_iter()]
    assert names.FORGOTTEN_DEVICES.encode() in keys
    assert await redis.scard(names.FORGOTTEN_DEVICES) == 1
    assert not [member for member in await redis.smembers(names.FORGOTTEN_DEVICES) if len(member) != 16]
    await redis.config_set("rdbcompression", "yes")
    await redis.aclose()

    again = await forgetting.run()
    assert again.code == (0 if can_delete else 1)
    assert "0 dead letters removed" in again.text
    assert "0 entries removed that waited in Redis" in again.text


async def test_it_waits_for_batches_that_were_claimed_before_and_takes_back_those_of_the_dead(
    local_stack: LocalStack, redis_beside_the_tracker: LocalRedis, forgetting: Command
) -> None:
    redis_beside_the_tracker.flush()
    async with Redis.from_url(redis_beside_the_tracker.url) as redis:
        dead = EventQueue(redis, instance="dead", lease_s=4.0)
        theirs = of_another("b")
        await dead.push([of_the_device("a"), theirs])
        assert await dead.claim(limit=10, max_bytes=10_000, wait_s=0) is not None
        said = await forgetting.run()
        # Where letters can't be deleted, those of the test before are there still.
        assert said.code == (0 if local_stack.kafka.kind == "apache" else 1), said.text
        assert "1 entries removed that waited in Redis" in said.text
        assert [entry async for entry in dead.waiting()] == [theirs]
        assert await dead.books() == Books(accepted=1, listed=1, forgotten=1)


async def test_without_a_word_of_consent_nothing_is_done(
    local_stack: LocalStack, redis_beside_the_tracker: LocalRedis
) -> None:
    redis_beside_the_tracker.flush()
    for words, answer in ((("--id", DEVICE), "add --yes to go on"), ((), "which device?")):
        said = await command_line(local_stack, redis_beside_the_tracker, "erase", *words).run()
        assert said.code == 1
        assert answer in said.text
    async with Redis.from_url(redis_beside_the_tracker.url) as redis:
        assert not await redis.exists(names.FORGOTTEN_DEVICES)


async def test_a_redis_or_a_broker_that_is_away_is_named(forgetting: Command) -> None:
    for variable, address in (
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("REDIS_URL", "redis://:secret@127.0.0.1:1/0"),
    ):
        said = await Command(forgetting.words, forgetting.environ | {variable: address}).run()
        assert said.code == 1
        assert "127.0.0.1:1" in said.text
        assert "run the command again" in said.text
        assert "secret" not in said.text
        assert "Traceback" not in said.text
