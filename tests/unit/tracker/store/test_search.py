import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.backbone.events import RawEvent, encode_raw
from services.backbone.queue import EventQueue
from services.backbone.search import Target
from services.tracker.metrics import Metrics
from services.tracker.store import EventSearch, EventStore, SearchBusy, Spool
from services.tracker.store import search as search_module


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url) as client:
        await client.flushdb()
        yield client


@pytest.fixture
async def store(redis: Redis, tmp_path: Path) -> AsyncIterator[EventStore]:
    metrics = Metrics(CollectorRegistry())
    opened = EventStore(redis, metrics, max_pending_events=100, max_pending_bytes=1_000_000)
    await opened.open(partial(Spool.open, tmp_path / "spool", metrics, max_bytes=64 * 1_048_576))
    yield opened
    await opened.aclose()


def entries(count: int) -> list[bytes]:
    return [encode_raw(RawEvent(f"id-{at}", at, "", b"h", "p", b"/view", b"", b"", b"")) for at in range(count)]


async def test_search_stops_at_its_limit_and_reports_it(
    redis: Redis, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "_MOST_ENTRIES", 300)
    await EventQueue(redis).push(entries(2000))
    report = await EventSearch(redis, store, pod="p").run([Target(id="id-3"), Target(id="id-1999")])
    assert report.waiting.entries == 2000
    assert 300 <= report.waiting.searched < 2000
    assert report.waiting.error == "stopped after 300 entries"
    assert [found.target for found in report.waiting.found] == [1]


async def test_search_stops_after_its_time_and_reports_it(
    redis: Redis, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "_LIMIT_S", 0.05)
    await EventQueue(redis).push(entries(50_000))
    begin = time.monotonic()
    report = await EventSearch(redis, store, pod="p").run([Target(id="id-3")])
    assert time.monotonic() - begin < 1.0
    assert report.waiting.error == "stopped after 5 s"
    assert report.waiting.searched < 50_000


async def test_many_matching_entries_are_reported_up_to_ten(redis: Redis, store: EventStore) -> None:
    await EventQueue(redis).push(entries(500))
    report = await EventSearch(redis, store, pod="p").run([Target(type="view"), Target(id="id-0")])
    assert [found.before for found in report.waiting.found if found.target == 0] == list(range(499, 489, -1))
    assert [found.before for found in report.waiting.found if found.target == 1] == [0]


async def test_event_that_moves_during_the_search_is_found(redis: Redis, store: EventStore) -> None:
    queue = EventQueue(redis, instance="one")
    search = EventSearch(redis, store, pod="p")
    for _ in range(5):
        await redis.flushdb()
        await queue.push(entries(5000))
        searching = asyncio.create_task(search.run([Target(id="id-0"), Target(id="id-2500"), Target(id="id-4999")]))
        while await queue.claim(limit=100, max_bytes=1_000_000, wait_s=0):
            await queue.push([b"another"])
            if searching.done():
                break
        report = await searching
        assert {found.target for store in (report.waiting, report.claims) for found in store.found} == {0, 1, 2}


async def test_search_is_refused_when_the_one_before_does_not_end(
    redis: Redis, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "_WAIT_S", 0.01)
    await EventQueue(redis).push(entries(50_000))
    search = EventSearch(redis, store, pod="p")
    running = asyncio.create_task(search.run([Target(id="none")]))
    await asyncio.sleep(0)
    with pytest.raises(SearchBusy):
        await search.run([Target(id="none")])
    assert (await running).waiting.searched >= 50_000
    assert (await search.run([Target(id="id-49999")])).waiting.found
