"""Topics that other programs write to with transactions: markers, aborted records and open transactions."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.backbone import names
from services.backbone.counters import CounterStore
from services.backbone.events import encode_event
from services.backbone.kafka import EventProducer
from services.consumers.handlers import HANDLERS
from services.consumers.metrics import Metrics
from services.consumers.settings import Settings
from services.consumers.worker import StatisticsConsumer
from tests.contract.consumer_bench import running
from tests.contract.kafidx.serving import PARTITIONS, Kafidx, event, numbers, produce
from tests.contract.transactions import NEEDS_TRANSACTIONS, Transactions, transactions

NAME = "event_counter"
LABELS = {"consumer": NAME}


def value(number: int) -> bytes:
    return encode_event(event(number))


@pytest.fixture
async def events(own_topics: None, kafka_broker: Any) -> AsyncIterator[Transactions]:  # noqa: ARG001 - as `kafidx`
    if kafka_broker.kind == "tansu":
        pytest.skip(NEEDS_TRANSACTIONS)
    async with transactions(kafka_broker.bootstrap_servers, names.EVENTS_TOPIC, partitions=PARTITIONS) as opened:
        yield opened


async def write_three_transactions(events: Transactions) -> None:
    """Write to each partition: events at 0, 1 and 5, an aborted event at 3, and markers at 2, 4 and 6."""
    await events.commit([value(0), value(1)])
    await events.abort([value(2)])
    await events.commit([value(3)])


@contextlib.asynccontextmanager
async def counting(
    environ: dict[str, str], redis: Redis, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    token = uuid.uuid4().hex[:8]
    monkeypatch.setattr(names, "consumer_group", lambda consumer: f"{consumer}-{token}")
    settings = Settings.from_env(environ | {"CONSUMERS_POLL_WAIT_S": "0.2", "CONSUMERS_LAG_INTERVAL_S": "0.2"})
    consumer = StatisticsConsumer(HANDLERS[NAME], settings, CounterStore(redis), Metrics(registry))
    async with running(consumer):
        yield


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - the condition has no event to wait for
            await asyncio.sleep(0.1)


async def test_consumer_has_no_lag_after_a_marker_and_during_an_open_transaction(
    kafidx: Kafidx, environ: dict[str, str], redis: Redis, events: Transactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = CollectorRegistry()

    async def positions(at: int) -> bool:
        return await CounterStore(redis).positions(NAME) == dict.fromkeys(range(PARTITIONS), at)

    def measured() -> list[float | None]:
        partitions = (LABELS | {"partition": str(partition)} for partition in range(PARTITIONS))
        return [registry.get_sample_value("push_consumer_lag_events", labels) for labels in partitions]

    async def no_lag() -> bool:
        (card,) = (await kafidx.json("/consumers/data"))["consumers"]
        return (card["lag"], card["stale"]) == (0, False) and measured() == [0.0] * PARTITIONS

    await write_three_transactions(events)
    async with counting(environ, redis, registry, monkeypatch):
        await eventually(lambda: positions(7))
        await eventually(no_lag)
        # Only an aborted transaction: its record and its marker move the position without a record.
        await events.abort([value(4)])
        await eventually(lambda: positions(9))
        await eventually(no_lag)
        await events.begin([value(5)])
        await asyncio.sleep(1.5)  # kafidx reads the end offsets again after one second
        assert await no_lag()
        assert await positions(9)
        await events.end()
        await eventually(lambda: positions(11))
        await eventually(no_lag)
    progress = await CounterStore(redis).progress(NAME)
    # Each partition has the same events, so two of three are duplicates.
    assert (progress.events, progress.duplicates) == (4, 4 * (PARTITIONS - 1))
    assert (progress.invalid, progress.missed) == (0, 0)


async def test_view_of_the_past_catches_up_and_shows_committed_events_only(
    kafidx: Kafidx, events: Transactions
) -> None:
    await write_three_transactions(events)
    async with kafidx.socket("from=beginning") as socket:
        await socket.frame("caught_up")
        assert sorted(numbers(socket.rows)) == sorted([0, 1, 3] * PARTITIONS)
        stats = await socket.frame("stats")
    everywhere = [str(partition) for partition in range(PARTITIONS)]
    assert stats["lag"] == dict.fromkeys(everywhere, 0)
    assert stats["positions"] == dict.fromkeys(everywhere, 7)


async def test_live_view_moves_past_markers_and_shows_a_transaction_when_it_is_committed(
    kafidx: Kafidx, events: Transactions, producer: EventProducer
) -> None:
    await write_three_transactions(events)
    async with kafidx.socket("from=end") as socket:
        hello = await socket.frame("hello")
        assert hello["positions"] == {str(partition): 7 for partition in range(PARTITIONS)}
        await events.abort([value(4)])
        await events.begin([value(5)])
        await produce(producer, [event(6)])
        for _ in range(3):
            stats = await socket.frame("stats")
            assert set(stats["lag"].values()) == {0}
        # Kafka returns records up to the first open transaction.
        assert socket.rows == []
        assert set(stats["positions"].values()) == {9}
        await events.end()
        assert sorted(numbers(await socket.until(PARTITIONS + 1))) == [5] * PARTITIONS + [6]

        async def at_the_end() -> bool:
            found: dict[str, int] = (await socket.frame("stats"))["positions"]
            return sum(found.values()) == 11 * PARTITIONS + 1

        await eventually(at_the_end)


async def test_event_at_an_offset_without_an_event_gets_404_at_once(kafidx: Kafidx, events: Transactions) -> None:
    await write_three_transactions(events)
    assert (await kafidx.json("/kafidx/event?partition=1&offset=5"))["offset"] == 5
    for offset in (2, 3, 4, 6):
        began_s = time.monotonic()
        status, text, _ = await kafidx.get(f"/kafidx/event?partition=1&offset={offset}")
        assert time.monotonic() - began_s < 3
        assert status == 404
        assert f"partition 1 has no event at offset {offset}: it holds a transaction marker" in text
    await events.begin([value(4)])
    status, text, _ = await kafidx.get("/kafidx/event?partition=1&offset=7")
    assert (status, "holds offsets 0 to 6" in text) == (404, True)
    await events.end()
    assert (await kafidx.json("/kafidx/event?partition=1&offset=7"))["offset"] == 7


async def test_view_of_the_last_events_does_not_count_markers(kafidx: Kafidx, events: Transactions) -> None:
    for number in range(10):
        await events.commit([value(number)])
    await events.abort([value(100 + number) for number in range(20)])
    for count in (1, 3, 12, 1000):
        async with kafidx.socket(f"from=last:{count}") as socket:
            await socket.frame("caught_up")
            found = numbers(socket.rows)
        assert len(found) == min(count, 10 * PARTITIONS)
        assert min(found) == 10 - -(-len(found) // PARTITIONS)


async def test_page_of_dead_letters_is_full_and_without_markers(
    kafidx: Kafidx, kafka_broker: Any, events: Transactions
) -> None:
    del events  # skips this test on a broker without transactions
    async with transactions(kafka_broker.bootstrap_servers, names.DEAD_LETTER_TOPIC, partitions=1) as dead_letters:
        for number in range(30):
            await dead_letters.commit([b"%d" % number])
        await dead_letters.abort([b"aborted"])
    page = await kafidx.json("/dead/data")
    assert [letter["text"] for letter in page["letters"]] == [str(number) for number in range(29, 4, -1)]
    older = await kafidx.json(f"/dead/data{page['older_url']}")
    assert [letter["text"] for letter in older["letters"]] == ["4", "3", "2", "1", "0"]
    assert older["older_url"] is None
