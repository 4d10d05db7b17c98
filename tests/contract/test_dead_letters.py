"""The operators' commands list dead letters and put each back once, also when a command is interrupted."""

import asyncio
import json
import random
import signal
import time

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.redis import LocalRedis
from deploy.operate.queue_admin import QueueAdmin
from services.backbone import names
from services.backbone.events import encode_raw
from services.backbone.queue import EventQueue, Ledger
from tests.contract.kafkastore_bench import (
    LEASE_S,
    Command,
    Doom,
    Kafkastore,
    Topic,
    command_line,
    dead_letters_since,
    entries,
    raw_event,
    readable,
    steady,
    until,
)

WEEK_MS = 7 * 24 * 3600 * 1000


class Operator:
    """Runs commands that select the letters of one test."""

    def __init__(self, stack: LocalStack, redis: LocalRedis) -> None:
        self.begun_ms = int(time.time() * 1000)
        self._stack, self._redis = stack, redis

    def command(self, task: str, *words: str) -> Command:
        return command_line(self._stack, self._redis, task, "--since", readable(self.begun_ms), *words)


@pytest.fixture
def operator(local_stack: LocalStack, redis_beside_the_tracker: LocalRedis) -> Operator:
    return Operator(local_stack, redis_beside_the_tracker)


async def allow_records_of(bootstrap_servers: str, limit_bytes: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        # Set all settings of the topic. Omitted settings would return to the broker's defaults.
        configs = {"max.message.bytes": str(limit_bytes), "retention.ms": str(WEEK_MS)}
        [response] = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, names.EVENTS_TOPIC, configs)])
        assert [error for error, *_ in response.resources] == [0]
    finally:
        await admin.close()


async def test_too_large_record_is_replayed_after_the_limit_is_raised(
    local_stack: LocalStack, kafka_kind: KafkaKind, operator: Operator, kafkastore: Kafkastore, queue: EventQueue
) -> None:
    if kafka_kind != "apache":
        pytest.skip("this broker does not enforce max.message.bytes")
    batch = entries(1000)
    large = random.Random(7).randbytes(90_000).hex().encode()
    poison = encode_raw(raw_event("large", query=b"di=device-7&text=" + large))
    mixed = list(batch.values())[:999]
    mixed.insert(500, poison)
    await allow_records_of(local_stack.bootstrap_servers, 100_000)
    try:
        kafkastore()
        await queue.push(mixed)
        await steady(queue, produced=999, dead=1)
        listed = json.loads((await operator.command("dead.list", "--json").run()).text)
        [letter] = listed["letters"]
        assert listed["by_reason"] == {"record is too large for the topic": 1}
        assert (letter["stage"], letter["type"], letter["id"]) == ("produce", "view", "large")
        assert (letter["cut"], letter["replayed"]) == (False, False)
    finally:
        await allow_records_of(local_stack.bootstrap_servers, 1_000_000)

    dry = await operator.command("dead.replay", "--dry-run").run()
    assert dry.code == 0
    assert "record is too large for the topic" in dry.text
    assert (await queue.ledger()).produced == 999
    first = await operator.command("dead.replay").run()
    assert (first.code, "entries put back into the queue: 1" in first.text) == (0, True), first.text
    await steady(queue, produced=1000)
    second = await operator.command("dead.replay").run()
    assert (second.code, "nothing to put back" in second.text) == (0, True), second.text
    assert await steady(queue, produced=1000) == Ledger(accepted=1000, produced=1000)
    assert "yes" in (await operator.command("dead.list").run()).text


async def test_interrupted_replay_continues(
    operator: Operator, kafkastore: Kafkastore, queue: EventQueue, admin: QueueAdmin
) -> None:
    poison = [encode_raw(raw_event(f"late-{n}", received_at_ms=-1)) for n in range(300)]
    await queue.push(poison)
    service = kafkastore(IP_MODE="full")
    await steady(queue, produced=0, dead=300)
    service.stop()

    running = await operator.command("dead.replay", "--rate", "60").start()

    async def on_its_way() -> bool:
        return (await queue.ledger()).listed >= 40

    await until(on_its_way, "some entries are put back")
    running.send_signal(signal.SIGKILL)
    await running.communicate()
    ledger = await queue.ledger()
    assert 40 <= ledger.listed < 300
    assert ledger == Ledger(accepted=300, dead=300 - ledger.listed, listed=ledger.listed)

    again = await operator.command("dead.replay").run()
    assert again.code == 0
    assert f"entries put back into the queue: {300 - ledger.listed}" in again.text
    assert sorted([entry async for entry in admin.waiting()]) == sorted(poison)
    assert await queue.ledger() == Ledger(accepted=300, listed=300)


async def test_duplicate_dead_letters_are_replayed_once_and_again_after_a_new_failure(
    local_stack: LocalStack, operator: Operator, doom: Doom, kafkastore: Kafkastore, queue: EventQueue
) -> None:
    poison = [encode_raw(raw_event(f"twice-{n}", received_at_ms=-1)) for n in range(3)]
    await queue.push(poison)
    doomed = doom("before_confirm", 1, IP_MODE="full", KAFKASTORE_LEASE_S=str(LEASE_S))
    assert await asyncio.to_thread(doomed.process.wait, timeout_s=30.0) == -signal.SIGKILL
    kafkastore(IP_MODE="full")
    await steady(queue, produced=0, dead=3)
    assert len(await dead_letters_since(local_stack, operator.begun_ms)) == 6

    printed = await operator.command("dead.replay").run()
    assert "entries put back into the queue: 3" in printed.text
    assert "other letters of the same entries: 3" in printed.text

    async def dead_again() -> bool:
        return len(await dead_letters_since(local_stack, operator.begun_ms)) == 9

    await until(dead_again, "the entries are dead letters again")
    await steady(queue, produced=0, dead=3)
    printed = await operator.command("dead.replay").run()
    assert "entries put back into the queue: 3" in printed.text
    assert "letters that were put back before: 6" in printed.text


async def test_replay_selects_by_filter_and_reports_truncated_ones(
    operator: Operator, kafkastore: Kafkastore, queue: EventQueue, dead_letters: Topic
) -> None:
    await queue.push(
        [
            b"\x02 of a later version",
            b"garbage",
            encode_raw(raw_event("a", received_at_ms=-1)),
            encode_raw(raw_event("b", received_at_ms=-1, path=b"/other")),
            b"\x01" + b"x" * 2_000_000,
        ]
    )
    service = kafkastore(IP_MODE="full")
    await steady(queue, produced=0, dead=5)
    service.stop()
    stages = {dict(letter.headers)[names.HEADER_DEAD_STAGE] for letter in await dead_letters.records()}
    assert stages == {b"decode", b"enrich"}

    by_type = await operator.command("dead.replay", "--type", "view").run()
    assert (by_type.code, "entries put back into the queue: 1" in by_type.text) == (0, True), by_type.text
    by_reason = await operator.command("dead.replay", "--reason", "unknown entry version").run()
    assert (by_reason.code, "entries put back into the queue: 2" in by_reason.text) == (0, True), by_reason.text
    before = await operator.command("dead.replay", "--until", readable(operator.begun_ms)).run()
    assert (before.code, "nothing to put back" in before.text) == (0, True), before.text
    rest = await operator.command("dead.replay").run()
    assert rest.code == 1
    assert "entries put back into the queue: 1" in rest.text
    assert "truncated letters, which can't be put back: 1" in rest.text
    assert await queue.ledger() == Ledger(accepted=5, dead=1, listed=4)
    listed = await operator.command("dead.list", "--limit", "2").run()
    assert "the newest 2 of 5" in listed.text


@pytest.mark.parametrize("task", ["dead.list", "dead.replay"])
async def test_unreachable_server_is_in_the_error(operator: Operator, task: str) -> None:
    command = operator.command(task)
    for variable, address in (
        ("REDIS_URL", "redis://:secret@127.0.0.1:1/0"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ):
        printed = await Command(command.words, command.environ | {variable: address}).run()
        assert printed.code == 1
        assert "127.0.0.1:1" in printed.text
        assert "secret" not in printed.text
        assert "Traceback" not in printed.text
