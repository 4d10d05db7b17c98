"""The search in Kafka: its start by time, its bounds, its duplicates, and its cost beside other pages."""

import asyncio
import contextlib
import statistics
import sys
import time
import uuid
from typing import Any
from urllib.parse import quote

import pytest
from uuid_utils import uuid7

from services.backbone import names
from services.backbone.events import encode_event
from services.backbone.kafka import EventProducer, Record
from services.kafidx.store import find as find_store
from services.kafidx.store import find_topic
from tests.contract.kafidx.serving import Kafidx, event, produce

HOUR_MS = 3_600_000


async def find(kafidx: Kafidx, q: str, **parameters: Any) -> dict[str, Any]:
    more = "".join(f"&{name}={value}" for name, value in parameters.items())
    found: dict[str, Any] = (await kafidx.json(f"/find/data?q={quote(q)}{more}"))["results"][0]
    return found


def stage(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in found["stages"] if each["name"] == name)


async def write(producer: EventProducer, event_id: str, time_ms: int) -> None:
    record = Record(encode_event(event(1, id=event_id, received_at_ms=time_ms)), timestamp_ms=time_ms)
    assert await producer.produce(names.EVENTS_TOPIC, [record]) == []


async def test_without_trackers_the_stages_before_kafka_are_unknown(kafidx: Kafidx) -> None:
    found = await find(kafidx, "order-1")
    assert found["verdict"]["stage"] == "unknown"
    assert "the stages before Kafka (KAFIDX_TRACKERS is not set)" in found["verdict"]["text"]
    assert stage(found, "spool")["state"] == "unknown"


async def test_search_begins_fifteen_minutes_ago_or_at_since(
    kafidx: Kafidx, producer: EventProducer, kafka_broker: Any
) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("Tansu does not find offsets by the timestamps of records")
    now_ms = time.time_ns() // 1_000_000
    event_id = f"old-{uuid.uuid4()}"
    await write(producer, event_id, now_ms - HOUR_MS)
    await produce(producer, [event(number) for number in range(5)])
    found = await find(kafidx, event_id)
    assert stage(found, "kafka")["state"] == "not_here"
    assert any("since" in advice for advice in found["verdict"]["advice"])
    found = await find(kafidx, event_id, since=61)
    assert stage(found, "kafka")["state"] == "found"
    assert stage(found, "kafka")["text"].startswith("Searched 6 records from ")


async def test_search_for_an_id_of_the_tracker_begins_at_the_time_of_the_id(
    kafidx: Kafidx, producer: EventProducer, kafka_broker: Any
) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("Tansu does not find offsets by the timestamps of records")
    day_ago_ms = time.time_ns() // 1_000_000 - 24 * HOUR_MS
    old_id = str(uuid.UUID(int=(day_ago_ms << 80) | (uuid7().int & ((1 << 80) - 1))))
    await write(producer, "before", day_ago_ms - 5000)
    await write(producer, old_id, day_ago_ms + 3)
    found = await find(kafidx, old_id)
    assert stage(found, "kafka")["state"] == "found"
    assert stage(found, "kafka")["text"].startswith("Searched 1 records from ")


async def test_search_ends_at_its_limit_and_reports_it(
    kafidx: Kafidx, producer: EventProducer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await produce(producer, [event(number) for number in range(3000)])
    monkeypatch.setattr(find_topic, "MOST_RECORDS", 1000)
    found = await find(kafidx, "none")
    assert stage(found, "kafka")["state"] == "not_searched"
    assert stage(found, "kafka")["text"].endswith(", not further.")
    assert "Searched only in part: Kafka." in found["verdict"]["text"]


async def test_duplicates_are_listed_up_to_ten(kafidx: Kafidx, producer: EventProducer) -> None:
    event_id = str(uuid.uuid4())
    await produce(producer, [event(1, id=event_id) for _ in range(15)])
    kafka = stage(await find(kafidx, event_id), "kafka")
    assert len(kafka["places"]) == 10
    assert "15 match; 10 of them are listed." in kafka["text"]
    places = [place["offset"] for place in kafka["places"]]
    assert places == sorted(places)


async def test_events_with_the_same_content_are_listed_newest_first(kafidx: Kafidx, producer: EventProducer) -> None:
    now_ms = time.time_ns() // 1_000_000
    for number in range(12):
        value = encode_event(event(0, id=f"id-{number}", params="n=same"))
        record = Record(value, key=b"one", timestamp_ms=now_ms - 60_000 + number)
        assert await producer.produce(names.EVENTS_TOPIC, [record]) == []
    found = await find(kafidx, "curl 'http://t/x/view?n=same'")
    kafka = stage(found, "kafka")
    times = [place["time_ms"] - now_ms + 60_000 for place in kafka["places"]]
    assert times == list(range(11, 1, -1))


async def test_second_search_waits_for_the_first_and_gives_up_at_its_limit(
    kafidx: Kafidx, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, released = asyncio.Event(), asyncio.Event()
    search = find_topic.search_events

    async def blocked(*args: Any, **kwargs: Any) -> Any:
        started.set()
        await released.wait()
        return await search(*args, **kwargs)

    monkeypatch.setattr(find_store, "search_events", blocked)
    monkeypatch.setattr(find_store, "_WAIT_S", 0.3)
    first = asyncio.create_task(kafidx.get("/find/data?q=id-1"))
    await started.wait()
    status, _, headers = await kafidx.get("/find/data?q=id-2")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert not first.done()
    released.set()
    assert (await first)[0] == 200
    assert (await kafidx.get("/find/data?q=id-2"))[0] == 200


async def test_search_stops_when_its_client_closes_the_connection(
    kafidx: Kafidx, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = asyncio.Event()

    async def endless(*_: Any, **__: Any) -> Any:
        started.set()
        await asyncio.Event().wait()

    # Both searches: a connection to Kafka that is cancelled while it opens is closed by the garbage collector.
    monkeypatch.setattr(find_store, "search_events", endless)
    monkeypatch.setattr(find_store, "search_dead_letters", endless)
    abandoned = asyncio.create_task(kafidx.get("/find/data?q=id-1"))
    await started.wait()
    abandoned.cancel()
    monkeypatch.undo()
    assert (await kafidx.get("/find/data?q=id-2"))[0] == 200


@pytest.mark.slow
@pytest.mark.measures
async def test_search_of_200000_records_leaves_other_pages_responsive(kafidx: Kafidx, producer: EventProducer) -> None:
    for first in range(0, 200_000, 10_000):
        await produce(producer, [event(first + number) for number in range(10_000)])
    alone_ms: list[float] = []
    async with asyncio.timeout(10):
        while len(alone_ms) < 100:
            await wait_for_page(kafidx, alone_ms)
    beside_ms: list[float] = []

    async def other_pages() -> None:
        while True:
            await wait_for_page(kafidx, beside_ms)

    others = asyncio.create_task(other_pages())
    begin = time.perf_counter()
    kafka = stage(await find(kafidx, str(uuid.uuid4())), "kafka")
    seconds = time.perf_counter() - begin
    others.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await others
    sys.stdout.write(f"\n200,000 records in {seconds:.1f} s\n")
    for name, waits_ms in (("alone", alone_ms), ("beside", beside_ms)):
        ranks = statistics.quantiles(waits_ms, n=100)
        sys.stdout.write(f"{name}: p50 {ranks[49]:.0f} ms, p99 {ranks[98]:.0f} ms, slowest {max(waits_ms):.0f} ms\n")
    assert kafka["text"].startswith("Searched 200,000 records from ")
    assert kafka["state"] == "not_here"
    assert seconds < find_topic.LIMIT_S
    # A search in one step would block all responses for over a second.
    assert max(beside_ms) < max(alone_ms) + 400
    assert statistics.median(beside_ms) < statistics.median(alone_ms) + 60


async def wait_for_page(kafidx: Kafidx, waits_ms: list[float]) -> None:
    begin = time.perf_counter()
    status, _, _ = await kafidx.get("/static/push/push.css")
    assert status == 200
    waits_ms.append((time.perf_counter() - begin) * 1000)
    await asyncio.sleep(0.01)
