"""The pages of the dead letters and their data."""

import asyncio
import json
import time
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from services.backbone import names
from services.backbone.kafka import EventProducer, Record
from tests.contract.kafidx.serving import SESSION, Kafidx, event, produce


def dead_letter(number: int) -> Record:
    return Record(
        b"\x07<b>%d" % number,
        headers=(
            (names.HEADER_DEAD_REASON, b"unknown entry version"),
            (names.HEADER_DEAD_STAGE, b"decode"),
            (names.HEADER_DEAD_TIME, b"%d" % (1_764_000_000_000 + number)),
            (names.HEADER_DEAD_ATTEMPT, b"2"),
        ),
    )


async def test_dead_letters_are_paged_newest_first(kafidx: Kafidx, producer: EventProducer, kafka_broker: Any) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("Tansu reports end offsets that are too low: the newest dead letters are missing")
    assert (await kafidx.json("/dead/data"))["letters"] == []
    assert await producer.produce(names.DEAD_LETTER_TOPIC, [dead_letter(number) for number in range(40)]) == []
    await asyncio.sleep(1.1)  # the end offsets are cached for one second
    page = await kafidx.json("/dead/data")
    assert (page["total"], len(page["letters"]), page["newer_url"]) == (40, 25, None)
    assert page["letters"][0] == {
        "partition": 0, "offset": 39, "time_ms": 1_764_000_000_039, "stage": "decode",
        "reason": "unknown entry version", "attempt": 2, "text": "\x07<b>39", "size": 6, "cut": False,
        "live_url": f"/kafidx?topic={names.DEAD_LETTER_TOPIC}&from=offset:0:39",
        "events_url": "/kafidx?from=time:1763999999039",
    }  # fmt: skip
    older = await kafidx.json(f"/dead/data{page['older_url']}")
    assert [letter["offset"] for letter in older["letters"]] == list(range(14, -1, -1))
    assert older["older_url"] is None
    status, html, _ = await kafidx.get("/dead")
    assert status == 200
    assert "&lt;b&gt;39" in html
    assert (await kafidx.get("/dead/data?before=x"))[0] == 400


async def test_page_without_dead_letters_shows_the_reason_and_no_total(kafidx: Kafidx) -> None:
    _, html, _ = await kafidx.get("/dead")
    assert "There are no dead letters. All entries became events" in html
    assert "in total" not in html
    assert "None, as far back as the topic reaches." in (await kafidx.get("/"))[1]


async def test_deleted_dead_letters_are_not_shown(
    kafidx: Kafidx, producer: EventProducer, environ: dict[str, str], kafka_broker: Any
) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("Tansu deletes no records")
    assert await producer.produce(names.DEAD_LETTER_TOPIC, [dead_letter(number) for number in range(3)]) == []
    async with asyncio.timeout(10):
        while (await kafidx.json("/dead/data"))["total"] != 3:  # noqa: ASYNC110 - the condition has no event to wait for
            await asyncio.sleep(0.2)
    admin = AIOKafkaAdminClient(bootstrap_servers=environ["KAFKA_BOOTSTRAP_SERVERS"])
    await admin.start()
    await admin.delete_records({TopicPartition(names.DEAD_LETTER_TOPIC, 0): RecordsToDelete(before_offset=3)})
    await admin.close()
    async with asyncio.timeout(10):
        while (await kafidx.json("/dead/data"))["letters"]:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.2)
    assert (await kafidx.json("/dead/data"))["total"] == 0


@pytest.mark.parametrize("written", ["²", "8640000000000001", "", "x"])
async def test_dead_letter_with_invalid_numbers_is_shown(
    kafidx: Kafidx, producer: EventProducer, kafka_broker: Any, written: str
) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("Tansu reports end offsets that are too low: the newest dead letters are missing")
    headers = ((names.HEADER_DEAD_TIME, written.encode()), (names.HEADER_DEAD_ATTEMPT, written.encode()))
    assert await producer.produce(names.DEAD_LETTER_TOPIC, [Record(b"x", headers=headers)]) == []
    (shown,) = (await kafidx.json("/dead/data"))["letters"]
    assert shown["attempt"] is None
    assert abs(shown["time_ms"] - time.time() * 1000) < 60_000  # the record's own time


async def test_event_needs_one_partition_and_one_offset(kafidx: Kafidx) -> None:
    for query, parameter in (
        ("partition=0:1,1&offset=7", "partition"),
        ("partition=0&offset=7,1:2", "offset"),
        ("offset=7", "partition"),
        ("partition=0", "offset"),
        ("partition=2147483648&offset=7", "partition"),
    ):
        status, text, _ = await kafidx.get(f"/kafidx/event?{query}")
        assert (status, json.loads(text)["parameter"]) == (400, parameter), query


async def test_live_view_shows_a_dead_letter_at_its_offset(kafidx: Kafidx, producer: EventProducer) -> None:
    assert await producer.produce(names.DEAD_LETTER_TOPIC, [dead_letter(number) for number in range(5)]) == []
    await produce(producer, [event(number) for number in range(3)])
    async with kafidx.socket(f"topic={names.DEAD_LETTER_TOPIC}&from=offset:0:3") as socket:
        hello = await socket.frame("hello")
        assert (hello["topic"], hello["positions"]) == (names.DEAD_LETTER_TOPIC, {"0": 3})
        await socket.frame("caught_up")
        assert await producer.produce(names.DEAD_LETTER_TOPIC, [dead_letter(5)]) == []
        rows = await socket.until(3)
    assert [(row["t"], row["o"], row["params"]) for row in rows] == [
        (names.DEAD_LETTER_TOPIC, offset, f"\x07<b>{offset}") for offset in (3, 4, 5)
    ]
    assert {row["bad"] for row in rows} == {"decode: unknown entry version"}
    whole = await kafidx.json(f"/kafidx/event?topic={names.DEAD_LETTER_TOPIC}&partition=0&offset=3")
    assert (whole["topic"], whole["raw"]) == (names.DEAD_LETTER_TOPIC, "\x07<b>3")
    assert [names.HEADER_DEAD_STAGE, "decode"] in whole["headers"]


async def test_session_has_separate_positions_in_each_topic(kafidx: Kafidx, producer: EventProducer) -> None:
    assert await producer.produce(names.DEAD_LETTER_TOPIC, [dead_letter(number) for number in range(5)]) == []
    async with kafidx.socket(f"gid={SESSION}&topic={names.DEAD_LETTER_TOPIC}&from=beginning") as socket:
        await socket.until(5)
    await produce(producer, [event(number) for number in range(30)])
    async with kafidx.socket(f"gid={SESSION}&from=beginning") as socket:
        await socket.until(30)
    assert await producer.produce(names.DEAD_LETTER_TOPIC, [dead_letter(5)]) == []
    async with kafidx.socket(f"gid={SESSION}&topic={names.DEAD_LETTER_TOPIC}") as socket:
        (row,) = await socket.until(1)
    assert row["o"] == 5
