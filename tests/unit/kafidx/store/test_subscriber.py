import asyncio
import json
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.kafidx.core.events import LiveEvent
from services.kafidx.core.live import RowQueue
from services.kafidx.core.query import parse_view
from services.kafidx.metrics import Metrics
from services.kafidx.store import subscriber as subscriber_module
from services.kafidx.store.subscriber import Subscriber


def a_subscriber(query: str = "", *, max_rows: int = 100, max_bytes: int = 100_000) -> Subscriber:
    queue = RowQueue(max_rows=max_rows, max_bytes=max_bytes)
    return Subscriber(parse_view(query).filter, queue, Metrics(CollectorRegistry()))


def events(partition: int, first: int, count: int, event_type: str = "view") -> list[LiveEvent]:
    value = f"{event_type} id=1&ts=1&klag=1 -".encode()
    return [LiveEvent("events", partition, offset, 0, value) for offset in range(first, first + count)]


async def take(subscriber: Subscriber, count: int) -> list[dict[str, Any]]:
    frames: list[dict[str, Any]] = []
    async with asyncio.timeout(5):
        async for frame in subscriber.frames():
            frames.append(json.loads(frame))
            if len(frames) == count:
                break
    return frames


def test_events_that_were_offered_before_are_ignored() -> None:
    subscriber = a_subscriber()
    subscriber.offer(events(0, 0, 10), {0: 10})
    subscriber.offer(events(0, 5, 10), {0: 15})
    subscriber.offer(events(0, 3, 2), {0: 5})
    assert (subscriber.seen, subscriber.queue.matched, subscriber.next) == (15, 15, {0: 15})


def test_resume_positions_begin_at_the_first_row_that_was_not_sent() -> None:
    subscriber = a_subscriber("type=view")
    subscriber.offer([*events(0, 0, 5), *events(1, 0, 5, "click")], {0: 5, 1: 5})
    assert subscriber.resume_positions() == {0: 0, 1: 5}
    subscriber.queue.take(max_rows=2, max_bytes=10_000)
    assert subscriber.resume_positions() == {0: 2, 1: 5}
    subscriber.queue.take(max_rows=100, max_bytes=100_000)
    assert subscriber.resume_positions() == {0: 5, 1: 5}


def test_resume_positions_are_after_the_dropped_rows() -> None:
    subscriber = a_subscriber(max_rows=3)
    subscriber.offer(events(0, 0, 10), {0: 10})
    assert subscriber.resume_positions() == {0: 7}
    assert (subscriber.queue.matched, subscriber.queue.dropped) == (10, 7)


async def test_frames_are_rows_then_caught_up_then_stats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber_module, "STATS_EVERY_S", 0.05)
    subscriber = a_subscriber()
    subscriber.ends = lambda: {0: 12}
    subscriber.types = lambda: {"view": 10}
    subscriber.offer(events(0, 0, 10), {0: 10})
    subscriber.caught_up()
    rows, caught_up, stats = await take(subscriber, 3)
    assert [row["o"] for row in rows["rows"]] == list(range(10))
    assert caught_up == {"kind": "caught_up"}
    assert stats.pop("rate") >= 0
    assert stats == {
        "kind": "stats", "seen": 10, "matched": 10, "sent": 10, "dropped": 0, "queued": 0, "missed": 0,
        "away": False, "lag": {"0": 2}, "types": {"view": 10}, "positions": {"0": 10},
    }  # fmt: skip


async def test_stats_are_sent_in_time_while_rows_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber_module, "STATS_EVERY_S", 0.05)
    monkeypatch.setattr(subscriber_module, "_FRAME_ROWS", 1)
    subscriber = a_subscriber()
    next_offset, kinds = 0, set[str]()
    async with asyncio.timeout(5):
        async for frame in subscriber.frames():
            kinds.add(json.loads(frame)["kind"])
            subscriber.offer(events(0, next_offset, 2), {0: next_offset + 2})
            next_offset += 2
            if "stats" in kinds:
                break


async def test_reader_of_the_past_waits_for_room_in_the_queue() -> None:
    subscriber = a_subscriber(max_rows=10)
    subscriber.offer(events(0, 0, 8), {0: 8})
    waiting = asyncio.create_task(subscriber.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await take(subscriber, 1)
    async with asyncio.timeout(5):
        await waiting


async def test_frames_end_when_the_reader_has_failed() -> None:
    subscriber = a_subscriber()
    frames = asyncio.create_task(take(subscriber, 100))
    await asyncio.sleep(0)
    subscriber.fail()
    assert await frames == []


def test_gap_in_the_topic_is_counted_as_missed() -> None:
    subscriber = a_subscriber()
    subscriber.offer(events(0, 0, 10), {0: 10})
    subscriber.skip_to(0, 25)
    assert (subscriber.missed, subscriber.next) == (15, {0: 25})
    subscriber.skip_to(0, 0)
    subscriber.offer(events(0, 0, 3), {0: 3})
    assert (subscriber.missed, subscriber.seen, subscriber.next) == (15, 13, {0: 3})
