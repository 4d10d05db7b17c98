"""Records that Push does not write, but that any program may write to the topics. All of them are shown."""

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.record.util import calc_crc32c

from services.backbone import names
from services.backbone.dead_letters import decode_dead_letter
from services.kafidx.core.events import NULL_VALUE
from tests.contract.kafidx.serving import Kafidx

Headers = Sequence[tuple[str, bytes | None]]
ODD_HEADERS: dict[str, Headers] = {
    "null": [("reason", None), ("stage", None), ("time", None), ("attempt", None), ("id", None)],
    "repeated": [("reason", None), ("reason", b""), ("reason", b"first"), ("reason", b"second")],
    "empty": [("", b""), ("reason", b""), ("time", b""), ("attempt", b"")],
    "large": [("reason", b"\xff" * 990_000)],
    "many": [(f"h{number}", None) for number in range(20_000)],
}


@pytest.fixture
async def foreign(own_topics: None, environ: dict[str, str]) -> AsyncIterator[AIOKafkaProducer]:  # noqa: ARG001 - as `kafidx`
    async with AIOKafkaProducer(bootstrap_servers=environ["KAFKA_BOOTSTRAP_SERVERS"]) as producer:
        yield producer


async def send(
    foreign: AIOKafkaProducer,
    topic: str,
    value: bytes | None,
    *,
    key: bytes | None = None,
    headers: Headers = (),
    time_ms: int | None = None,
) -> int:
    """Write a record to partition 0 and return its offset. `AIOKafkaProducer.send` needs a key or a value."""
    batch = foreign.create_batch()
    assert batch.append(timestamp=time_ms, key=key, value=value, headers=list(headers)) is not None
    return int((await (await foreign.send_batch(batch, topic, partition=0))).offset)


async def event_at(kafidx: Kafidx, topic: str, offset: int) -> dict[str, Any]:
    found: dict[str, Any] = await kafidx.json(f"/kafidx/event?topic={topic}&partition=0&offset={offset}")
    return found


@pytest.mark.parametrize("kind", ODD_HEADERS)
async def test_record_with_odd_headers_is_shown(kafidx: Kafidx, foreign: AIOKafkaProducer, kind: str) -> None:
    headers = ODD_HEADERS[kind]
    letter = decode_dead_letter(b"x", headers)
    await send(foreign, names.EVENTS_TOPIC, b"x", headers=headers)
    await send(foreign, names.DEAD_LETTER_TOPIC, b"x", headers=headers)
    for topic in (names.EVENTS_TOPIC, names.DEAD_LETTER_TOPIC):
        whole = await event_at(kafidx, topic, 0)
        shown = [
            [name, None if value is None else value.decode("utf-8", "backslashreplace")] for name, value in headers
        ]
        assert whole["headers"] == shown[:1000]
        assert whole["headers_left_out"] == len(headers) - len(whole["headers"])
        async with kafidx.socket(f"topic={topic}&from=beginning") as socket:
            (row,) = await socket.until(1)
        assert "None" not in row["bad"]
        assert row["bad"]
    (dead,) = (await kafidx.json("/dead/data"))["letters"]
    assert (dead["stage"], dead["attempt"], dead["text"]) == (None, None, "x")
    assert dead["reason"] == (letter.reason[:4096] or None)
    status, page, _ = await kafidx.get("/dead")
    assert status == 200
    assert "unknown stage" in page
    assert ">None<" not in page


async def test_page_of_dead_letters_with_large_headers_is_served_in_time(
    kafidx: Kafidx, foreign: AIOKafkaProducer
) -> None:
    for _ in range(25):
        await send(foreign, names.DEAD_LETTER_TOPIC, b"x", headers=ODD_HEADERS["large"])
    began_s = time.monotonic()
    page = await kafidx.json("/dead/data")
    assert time.monotonic() - began_s < 5  # decoding these headers takes 4 s in addition
    assert [len(letter["reason"]) for letter in page["letters"]] == [4096] * 25


async def test_live_view_continues_after_null_headers(kafidx: Kafidx, foreign: AIOKafkaProducer) -> None:
    async with kafidx.socket(f"topic={names.DEAD_LETTER_TOPIC}&from=end") as socket:
        await socket.frame("hello")
        await send(foreign, names.DEAD_LETTER_TOPIC, b"x", headers=ODD_HEADERS["null"])
        await send(foreign, names.DEAD_LETTER_TOPIC, b"y", headers=[("stage", b"decode"), ("reason", None)])
        rows = await socket.until(2)
    assert [row["bad"] for row in rows] == ["no reason given", "decode"]


async def test_null_key_and_value_are_null_and_never_empty(kafidx: Kafidx, foreign: AIOKafkaProducer) -> None:
    for topic in (names.EVENTS_TOPIC, names.DEAD_LETTER_TOPIC):
        await send(foreign, topic, None)
        await send(foreign, topic, b"", key=b"")
        null, empty = await event_at(kafidx, topic, 0), await event_at(kafidx, topic, 1)
        assert (null["key"], null["raw"], null["invalid"]) == (None, None, NULL_VALUE)
        assert (empty["key"], empty["raw"], empty["invalid"] == NULL_VALUE) == ("", "", False)
        async with kafidx.socket(f"topic={topic}&from=beginning") as socket:
            rows = await socket.until(2)
        assert [NULL_VALUE in row["bad"] for row in rows] == [True, False]
    dead_letters = {letter["offset"]: letter for letter in (await kafidx.json("/dead/data"))["letters"]}
    assert [(dead_letters[at]["text"], dead_letters[at]["size"]) for at in (0, 1)] == [(None, 0), ("", 0)]
    _, page, _ = await kafidx.get("/dead")
    assert "<bdi>null</bdi>" in page
    assert "<bdi></bdi>" in page


@pytest.mark.parametrize("time_ms", [-1, -5, 0, -(2**62), 2**62])
async def test_record_of_any_time_is_shown(
    kafidx: Kafidx, foreign: AIOKafkaProducer, kafka_broker: Any, time_ms: int
) -> None:
    if kafka_broker.kind == "apache" and time_ms > 0:
        pytest.skip("Apache Kafka 4 rejects timestamps more than one hour in the future")
    for topic in (names.EVENTS_TOPIC, names.DEAD_LETTER_TOPIC):
        await send(foreign, topic, b"x", time_ms=time_ms)
        assert (await event_at(kafidx, topic, 0))["time_ms"] == time_ms
        async with kafidx.socket(f"topic={topic}&from=beginning") as socket:
            (row,) = await socket.until(1)
        assert row["ts"] == time_ms
    (letter,) = (await kafidx.json("/dead/data"))["letters"]
    assert letter["time_ms"] == time_ms
    status, _, _ = await kafidx.get(letter["events_url"])
    assert status == 200
    assert (await kafidx.get("/dead"))[0] == 200


async def test_time_of_the_broker_is_shown(
    kafidx: Kafidx, foreign: AIOKafkaProducer, environ: dict[str, str], kafka_broker: Any
) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("Tansu has no log-append time")
    admin = AIOKafkaAdminClient(bootstrap_servers=environ["KAFKA_BOOTSTRAP_SERVERS"])
    await admin.start()
    appended = {"message.timestamp.type": "LogAppendTime"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, names.EVENTS_TOPIC, appended)])
    await admin.close()
    async with asyncio.timeout(10):
        while True:
            offset = await send(foreign, names.EVENTS_TOPIC, b"x", time_ms=1000)
            shown_ms = (await event_at(kafidx, names.EVENTS_TOPIC, offset))["time_ms"]
            if shown_ms != 1000:
                break
    assert abs(shown_ms - time.time() * 1000) < 60_000


async def test_header_name_that_is_not_utf_8_gets_503_with_a_reason(kafidx: Kafidx, foreign: AIOKafkaProducer) -> None:
    batch = foreign.create_batch()
    batch.append(timestamp=None, key=None, value=b"x", headers=[("ZZZZ", b"")])
    batch.close()
    written = batch._build()
    at = written.index(b"ZZZZ")
    written[at : at + 4] = b"\xff\xfe\xff\xfe"
    written[17:21] = struct.pack(">I", calc_crc32c(bytes(written[21:])))
    await (await foreign.send_batch(batch, names.EVENTS_TOPIC, partition=0))
    status, text, _ = await kafidx.get("/kafidx/event?partition=0&offset=0")
    assert status == 503
    assert "the name of one of its headers is not UTF-8" in json.loads(text)["reason"]
