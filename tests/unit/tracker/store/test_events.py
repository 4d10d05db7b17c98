import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.queue import EventQueue, EvictionAllowed
from services.backbone.redis import connect
from services.tracker.metrics import Metrics
from services.tracker.store import EventStore, NotStored, Spool
from services.tracker.store.spool import NotSpooled


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
async def store(clean_redis: LocalRedis, registry: CollectorRegistry) -> AsyncIterator[EventStore]:
    redis = connect(clean_redis.url, timeout_s=2)
    yield EventStore(redis, Metrics(registry), max_pending_events=100, max_pending_bytes=10_000)
    await redis.aclose()


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(name, labels) or 0.0


async def test_redis_has_entries_when_store_returns(store: EventStore) -> None:
    await store.store([b"a", b"b"])
    assert await store._redis.lrange(names.RAW_EVENTS_LIST, 0, -1) == [b"a", b"b"]
    assert (await EventQueue(store._redis).ledger()).accepted == 2


async def test_events_that_arrive_during_a_push_share_the_next_push(
    store: EventStore, registry: CollectorRegistry
) -> None:
    first = asyncio.create_task(store.store([b"0"]))
    await asyncio.sleep(0)  # the first push's task is made
    await asyncio.sleep(0)  # and in flight
    await asyncio.gather(first, *(store.store([b"%d" % number]) for number in range(1, 100)))
    assert value(registry, "push_tracker_push_events_count") == 2
    assert value(registry, "push_tracker_events_accepted_total") == 100
    assert await store._redis.llen(names.RAW_EVENTS_LIST) == 100


async def test_one_push_is_in_flight_at_a_time(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    in_flight, most = 0, 0

    async def push(*_: object, **_numbered: object) -> None:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.001)
        in_flight -= 1

    monkeypatch.setattr(EventQueue, "push", push)
    for _ in range(5):
        await asyncio.gather(*(store.store([b"x"]) for _ in range(20)))
    assert most == 1


async def test_events_are_refused_beyond_pending_limit(store: EventStore, registry: CollectorRegistry) -> None:
    results = await asyncio.gather(*(store.store([b"x"]) for _ in range(150)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, NotStored)]
    assert [error.reason for error in refused] == ["overloaded"] * 50
    assert value(registry, "push_tracker_events_refused_total", reason="overloaded") == 50
    assert await store._redis.llen(names.RAW_EVENTS_LIST) == 100


async def test_pending_bytes_are_bounded_but_one_request_always_fits(store: EventStore) -> None:
    await store.store([b"x" * 20_000])
    results = await asyncio.gather(*(store.store([b"x" * 4000]) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(result, NotStored) for result in results) == 2


async def test_all_callers_of_a_push_get_an_error_without_redis(registry: CollectorRegistry) -> None:
    redis = connect("redis://127.0.0.1:1/0", timeout_s=0.5)
    store = EventStore(redis, Metrics(registry), max_pending_events=100, max_pending_bytes=10_000)
    results = await asyncio.gather(*(store.store([b"x"]) for _ in range(5)), return_exceptions=True)
    assert [result.reason for result in results if isinstance(result, NotStored)] == ["redis"] * 5
    assert value(registry, "push_tracker_events_refused_total", reason="redis") == 5
    with pytest.raises(RedisError):
        await store.check()
    await redis.aclose()


async def test_unexpected_error_is_reported_to_all_callers_and_logged(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    push, pushes = EventQueue.push, 0

    async def push_that_fails_twice(queue: EventQueue, entries: Sequence[bytes], **numbered: Any) -> None:
        nonlocal pushes
        pushes += 1
        await asyncio.sleep(0)  # other events arrive and wait for the next push
        if pushes < 3:
            raise RuntimeError("not an error of Redis")
        await push(queue, entries, **numbered)

    monkeypatch.setattr(EventQueue, "push", push_that_fails_twice)
    first = asyncio.create_task(store.store([b"a"]))
    await asyncio.sleep(0)  # its push is made
    await asyncio.sleep(0)  # and in flight
    with structlog.testing.capture_logs() as logs:
        results = await asyncio.gather(first, store.store([b"b"]), return_exceptions=True)
    assert [str(result) for result in results] == ["redis", "redis"]
    assert [(line["event"], line["log_level"]) for line in logs] == [("push_failed", "error")]
    await store.store([b"c"])
    assert await store._redis.lrange(names.RAW_EVENTS_LIST, 0, -1) == [b"c"]


@pytest.mark.parametrize("begun", [False, True])
async def test_all_callers_get_a_result_when_push_is_cancelled(
    store: EventStore, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, *, begun: bool
) -> None:
    in_flight = asyncio.Event()

    async def push_that_hangs(*_: object, **_numbered: object) -> None:
        in_flight.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as hanging:
        hanging.setattr(EventQueue, "push", push_that_hangs)
        waiting = [asyncio.create_task(store.store([b"a"])), asyncio.create_task(store.store([b"b"]))]
        await asyncio.sleep(0)  # the push's task is made
        if begun:
            await in_flight.wait()
            waiting.append(asyncio.create_task(store.store([b"c"])))  # waits for the next push
            await asyncio.sleep(0)
        assert in_flight.is_set() == begun
        assert store._pushing is not None
        store._pushing.cancel()
        async with asyncio.timeout(1):
            results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(result) for result in results] == ["redis"] * len(waiting)
    assert value(registry, "push_tracker_pending_events") == 0
    await store.store([b"d"])


async def test_cancelled_caller_does_not_affect_others_of_its_push(store: EventStore) -> None:
    leaving, staying = asyncio.create_task(store.store([b"a"])), asyncio.create_task(store.store([b"b"]))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    assert await store._redis.llen(names.RAW_EVENTS_LIST) == 2


async def test_closed_store_has_flushed_and_refuses_events(store: EventStore) -> None:
    waiting = asyncio.create_task(store.store([b"a"]))
    await asyncio.sleep(0)
    await store.aclose()
    await waiting
    with pytest.raises(NotStored, match="stopping"):
        await store.store([b"b"])


async def test_store_is_not_ready_when_redis_accepts_no_writes(store: EventStore) -> None:
    assert await store.check() == "0 events waiting"
    await store._redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(RedisError, match="maxmemory"):
            await store.check()
        with pytest.raises(NotStored):
            await store.store([b"x"])
    finally:
        await store._redis.config_set("maxmemory", "0")


SPOOL_AFTER_S = 0.1


class Scene:
    """A store with a spool, and its own Redis, which a test can stop."""

    def __init__(self, server: LocalRedis, directory: Path, registry: CollectorRegistry) -> None:
        self.server = server
        self.registry = registry
        self.redis = connect(server.url, timeout_s=1)
        self.metrics = Metrics(registry)
        self.store = EventStore(
            self.redis, self.metrics, max_pending_events=1000, max_pending_bytes=1_000_000, spool_after_s=SPOOL_AFTER_S
        )
        self._open_spool = partial(Spool.open, directory, self.metrics, max_bytes=1_048_576)

    async def open(self) -> None:
        await self.store.open(self._open_spool)

    def value(self, name: str, **labels: str) -> float:
        return value(self.registry, name, **labels)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the condition has no event to wait for
                await asyncio.sleep(0.01)

    async def until_replayed(self) -> None:
        await self.until(lambda: self.value("push_tracker_spool_events") == 0 and self.store._redis_error is None)

    async def stored(self) -> list[bytes]:
        entries: Any = await self.redis.lrange(names.RAW_EVENTS_LIST, 0, -1)
        return list(entries)


@pytest.fixture
async def scene(tmp_path: Path, registry: CollectorRegistry) -> AsyncIterator[Scene]:
    server = LocalRedis(data=tmp_path / "data", log=tmp_path / "redis.log")
    server.start()
    server.wait_ready()
    scene = Scene(server, tmp_path / "spool", registry)
    yield scene
    await scene.store.aclose()
    await scene.redis.aclose()
    server.process.stop()


async def test_spool_stays_empty_while_redis_confirms(scene: Scene) -> None:
    scene.store._spool_after_s = 4.0  # on a busy machine Redis may need longer than SPOOL_AFTER_S
    await scene.open()
    await scene.store.store([b"a"])
    assert (await scene.store.check()).startswith("0 events waiting, 0 in the spool, room for 1.0 MiB")
    assert scene.value("push_tracker_spool_bytes") == 0
    assert scene.value("push_tracker_events_spooled_total") == 0


async def test_unconfirmed_events_are_spooled_and_replayed_in_order(scene: Scene) -> None:
    await scene.open()
    await scene.store.store([b"before"])
    scene.server.process.stop()
    for number in range(20):
        await scene.store.store([b"%d" % number])
    assert scene.value("push_tracker_spool_events") == 20
    assert scene.value("push_tracker_events_accepted_total") == 21
    assert "20 events in the spool, room" in await scene.store.check()
    scene.server.start()
    await scene.until_replayed()
    await scene.store.store([b"after"])
    assert await scene.stored() == [b"before", *(b"%d" % number for number in range(20)), b"after"]
    assert (await EventQueue(scene.redis).ledger()).accepted == 22
    assert scene.value("push_tracker_events_replayed_total") == 20
    assert scene.value("push_tracker_push_failures_total") > 0


async def test_push_with_lost_response_is_stored_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis has the push without a confirmation. It is spooled, other pushes follow, and Redis drops its replay."""
    await scene.open()
    push = EventQueue.push

    async def push_and_lose_the_response(queue: EventQueue, entries: Sequence[bytes], **numbered: Any) -> bool:
        await push(queue, entries, **numbered)
        raise RedisError("lost")

    await scene.store.store([b"a"])
    for entry in (b"b", b"d"):
        with monkeypatch.context() as losing:
            losing.setattr(EventQueue, "push", push_and_lose_the_response)
            await scene.store.store([entry])
        await scene.store.store([entry + b" next"])
        await scene.until_replayed()
    assert sorted(await scene.stored()) == [b"a", b"b", b"b next", b"d", b"d next"]
    assert (await EventQueue(scene.redis).ledger()).accepted == 5


async def test_direct_pushes_do_not_make_redis_drop_a_spooled_push(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push that never reached Redis waits in the spool while many later pushes go directly to Redis."""
    await scene.open()
    hold = asyncio.Event()
    push, failing = EventQueue.push, True
    lost: list[tuple[str, int]] = []

    async def push_unless_lost(
        queue: EventQueue, entries: Sequence[bytes], *, producer_id: str, sequence: int, **limit: float | None
    ) -> bool:
        if failing:
            lost.append((producer_id, sequence))
            raise RedisError("away")
        if (producer_id, sequence) in lost and not hold.is_set():
            raise RedisError("not yet")
        return await push(queue, entries, producer_id=producer_id, sequence=sequence, **limit)

    monkeypatch.setattr(EventQueue, "push", push_unless_lost)
    await scene.store.store([b"waits"])
    failing = False
    scene.store._mark_redis_up()  # as after the replay of another record
    for number in range(50):
        await scene.store.store([b"%d" % number])
    assert b"waits" not in await scene.stored()
    hold.set()
    await scene.until_replayed()
    assert await scene.stored() == [*(b"%d" % number for number in range(50)), b"waits"]


async def test_hanging_redis_delays_one_push_only(scene: Scene) -> None:
    await scene.open()
    await scene.store.store([b"a"])
    scene.server.process.send_signal(signal.SIGSTOP)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await scene.store.store([b"b"])
    first_s = loop.time() - begin
    rest_s = []
    for number in range(10):
        begin = loop.time()
        await scene.store.store([b"%d" % number])
        rest_s.append(loop.time() - begin)
    assert "in the spool, room" in await scene.store.check()
    scene.server.process.send_signal(signal.SIGCONT)
    await scene.until_replayed()
    assert first_s >= SPOOL_AFTER_S
    assert median(rest_s) < SPOOL_AFTER_S
    assert await scene.stored() == [b"a", b"b", *(b"%d" % number for number in range(10))]


async def test_full_spool_refuses_events_until_replay(scene: Scene) -> None:
    await scene.open()
    scene.server.process.stop()
    stored = []
    with pytest.raises(NotStored, match="spool_full"):  # noqa: PT012 - stores events until the spool is full
        for number in range(30):
            await scene.store.store([b"%02d" % number + b"x" * 100_000])
            stored.append(b"%02d" % number)
    assert scene.value("push_tracker_events_refused_total", reason="spool_full") == 1
    await scene.store.store([b"small"])  # a small event still fits
    while True:
        try:
            await scene.store.store([b"x" * 20_000])
        except NotStored:
            break
    with pytest.raises(NotSpooled, match="the spool is full"):
        await scene.store.check()
    scene.server.start()
    await scene.until_replayed()
    assert "0 in the spool, room" in await scene.store.check()
    assert [entry[:2] for entry in await scene.stored()][: len(stored)] == stored


async def test_outage_releases_events_of_failed_push(scene: Scene) -> None:
    await scene.open()
    scene.server.process.stop()
    entry = bytes(1000)
    before = sys.getrefcount(entry)
    await scene.store.store([entry])
    await scene.until(lambda: sys.getrefcount(entry) <= before)
    assert scene.store._redis_error is not None


async def test_store_open_raises_when_redis_may_evict(scene: Scene) -> None:
    await scene.redis.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(EvictionAllowed, match="allkeys-lru"):
        await scene.open()


async def test_store_is_not_ready_and_pushes_nothing_when_returned_redis_evicts(scene: Scene) -> None:
    scene.server.process.stop()
    await scene.open()
    await scene.store.store([b"a"])
    scene.server.process.command = tuple(
        "allkeys-lru" if word == "noeviction" else word for word in scene.server.process.command
    )
    scene.server.start()
    scene.server.wait_ready()
    await scene.until(lambda: isinstance(scene.store._redis_error, EvictionAllowed))
    with pytest.raises(EvictionAllowed):
        await scene.store.check()
    await scene.store.store([b"b"])
    assert await scene.stored() == []
    await scene.redis.config_set("maxmemory-policy", "noeviction")
    await scene.until_replayed()
    assert await scene.stored() == [b"a", b"b"]


async def test_closed_store_leaves_spool_to_next_process(scene: Scene, tmp_path: Path) -> None:
    scene.server.process.stop()
    await scene.open()
    waiting = [asyncio.create_task(scene.store.store([b"%d" % number])) for number in range(3)]
    await asyncio.sleep(0)
    await scene.store.aclose()
    await asyncio.gather(*waiting)
    scene.server.start()
    scene.server.wait_ready()
    following = Scene(scene.server, tmp_path / "spool", CollectorRegistry())
    await following.open()
    await following.until_replayed()
    assert await following.stored() == [b"0", b"1", b"2"]
    await following.store.aclose()
    await following.redis.aclose()
