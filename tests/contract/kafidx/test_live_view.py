"""The rows that a subscriber gets: all of them, each once, from its start position on."""

import asyncio
import random
import time
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from services.backbone import names
from services.backbone.events import encode_event
from services.backbone.kafka import EventProducer, Record
from tests.contract.kafidx.serving import (
    PARTITIONS,
    SESSION,
    Kafidx,
    each_once_in_order,
    event,
    numbers,
    produce,
)


async def test_subscriber_from_the_beginning_gets_the_past_and_then_new_events(
    kafidx: Kafidx, producer: EventProducer
) -> None:
    await produce(producer, [event(number) for number in range(3000)])
    async with kafidx.socket("from=beginning") as socket:
        hello = await socket.frame("hello")
        assert hello["positions"] == {str(partition): 0 for partition in range(PARTITIONS)}
        await socket.frame("caught_up")
        assert len(socket.rows) == 3000
        await produce(producer, [event(number) for number in range(3000, 3300)])
        rows = await socket.until(3300)
    assert sorted(numbers(rows)) == list(range(3300))
    each_once_in_order(rows)
    row = next(row for row in rows if row["params"].startswith("n=7&"))
    assert row | {"p": 0, "o": 0, "ts": 0} == {
        "t": names.EVENTS_TOPIC, "p": 0, "o": 0, "ts": 0, "klag": 7, "ip": "203.0.113.0", "country": "DE",
        "device": "phone", "type": "click", "params": "n=7&q=city bike",
    }  # fmt: skip


async def test_view_starts_at_the_position_of_the_query(
    kafidx: Kafidx, producer: EventProducer, kafka_broker: Any
) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("Tansu reports end offsets that are too low, so the last N are more than N")
    await produce(producer, [event(number) for number in range(300)])
    between_ms = time.time_ns() // 1_000_000
    await asyncio.sleep(0.02)
    await produce(producer, [event(number) for number in range(300, 400)])
    async with kafidx.socket("from=last:50") as socket:
        assert len(await socket.until(50)) == 50
    async with kafidx.socket(f"from=time:{between_ms + 1}") as socket:
        assert sorted(numbers(await socket.until(100))) == list(range(300, 400))
    async with kafidx.socket("from=offset:1:5&partition=1") as socket:
        await socket.frame("caught_up")
        assert socket.rows[0]["o"] == 5
        each_once_in_order(socket.rows)
    async with kafidx.socket("from=end") as socket:
        await socket.frame("hello")
        await produce(producer, [event(number) for number in range(400, 430)])
        assert sorted(numbers(await socket.until(30))) == list(range(400, 430))


async def test_reconnecting_socket_gets_every_row_once(kafidx: Kafidx, producer: EventProducer) -> None:
    dice = random.Random(5)
    rows: list[dict[str, Any]] = []

    async def keep_producing() -> None:
        for begin in range(0, 6000, 100):
            await produce(producer, [event(number) for number in range(begin, begin + 100)])
            await asyncio.sleep(0.02)

    producing = asyncio.create_task(keep_producing())
    positions = {str(partition): 0 for partition in range(PARTITIONS)}
    for cut in range(100):
        query = "from=offset:" + ",".join(f"{partition}:{at}" for partition, at in positions.items())
        async with kafidx.socket(query if cut % 2 else "from=end") as socket:
            if not cut % 2:
                await socket.send({"kind": "resume", "positions": positions})
                await socket.frame("hello")
            await socket.frame("hello")
            limit = len(rows) + dice.randrange(1, 600)
            while len(rows) < limit and len(rows) < 6000:
                frame = await socket.frame()
                rows += frame.get("rows", [])
                for row in frame.get("rows", []):
                    positions[str(row["p"])] = row["o"] + 1
        if len(rows) >= 6000:
            break
    await producing
    assert sorted(numbers(rows)) == list(range(6000))
    each_once_in_order(rows)


async def test_filtered_view_has_the_positions_of_all_events_that_it_has_seen(
    kafidx: Kafidx, producer: EventProducer
) -> None:
    await produce(producer, [event(number) for number in range(900)])
    async with kafidx.socket("from=beginning&where=params.n+%3C+30") as socket:
        await socket.frame("caught_up")
        stats = await socket.frame("stats")
    assert (stats["seen"], stats["matched"]) == (900, 30)
    assert sum(stats["positions"].values()) == 900


async def test_session_continues_where_it_stopped_and_reset_starts_at_the_beginning(
    kafidx: Kafidx, producer: EventProducer
) -> None:
    await produce(producer, [event(number) for number in range(100)])
    async with kafidx.socket(f"gid={SESSION}&from=beginning") as socket:
        await socket.until(100)
    await produce(producer, [event(number) for number in range(100, 150)])
    async with kafidx.socket(f"gid={SESSION}") as socket:
        assert sorted(numbers(await socket.until(50))) == list(range(100, 150))
    async with kafidx.socket(f"gid={SESSION}&reset=1") as socket:
        assert sorted(numbers(await socket.until(150))) == list(range(150))


async def test_invalid_record_is_shown_with_its_error(kafidx: Kafidx, producer: EventProducer) -> None:
    await producer.produce(names.EVENTS_TOPIC, [Record(b"\xff<script>alert(1)</script>", key=b"k")])
    async with kafidx.socket("from=beginning") as socket:
        (row,) = await socket.until(1)
    assert row["bad"] == "expected three fields with one space between, found 1"
    assert (row["type"], row["params"]) == ("", "\ufffd<script>alert(1)</script>")


async def test_offsets_that_retention_removed_are_counted_as_missed(
    kafidx: Kafidx, producer: EventProducer, environ: dict[str, str], kafka_broker: Any
) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("Tansu deletes no records")
    await produce(producer, [event(number) for number in range(300)])
    admin = AIOKafkaAdminClient(bootstrap_servers=environ["KAFKA_BOOTSTRAP_SERVERS"])
    await admin.start()
    await admin.delete_records({TopicPartition(names.EVENTS_TOPIC, 1): RecordsToDelete(before_offset=20)})
    await admin.close()
    async with kafidx.socket("from=offset:0:0,1:4,2:0") as socket:
        hello = await socket.frame("hello")
        assert (hello["missed"], hello["positions"]["1"]) == (16, 20)
        assert len(await socket.until(280)) == 280


async def test_whole_event_is_returned_by_partition_and_offset(kafidx: Kafidx, producer: EventProducer) -> None:
    params = "q=%3Cscript%3E&q=%E2%80%AE&x=" + "y" * 5000
    record = Record(encode_event(event(1, params=params)), key=b"\xfe", headers=(("id", b"id-1"),))
    await producer.produce(names.EVENTS_TOPIC, [record])
    async with kafidx.socket("from=beginning") as socket:
        (row,) = await socket.until(1)
    assert row["cut"]
    whole = await kafidx.json(f"/kafidx/event?partition={row['p']}&offset={row['o']}")
    assert whole["params"] == [["q", "<script>"], ["q", "\u202e"], ["x", "y" * 5000]]
    assert ["ip", "203.0.113.0"] in whole["meta"]
    assert whole["raw"] == encode_event(event(1, params=params, received_at_ms=row["ts"])).decode()
    assert (whole["key"], whole["headers"], whole["invalid"]) == ("\\xfe", [["id", "id-1"]], None)
    for query, status in (
        ("partition=0&offset=99999", 404),
        ("partition=77&offset=0", 404),
        ("partition=x&offset=0", 400),
        ("partition=0", 400),
        ("partition=0&offset=-1", 400),
    ):
        assert (await kafidx.get(f"/kafidx/event?{query}"))[0] == status
