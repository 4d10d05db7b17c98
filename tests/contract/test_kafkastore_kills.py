"""kafkastore is killed at each point of its work: every event reaches Kafka, without manual work on its claims."""

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import AsyncIterator

import pytest

from deploy.operate.queue_admin import QueueAdmin
from services.backbone.queue import EventQueue
from tests.contract.kafkastore_bench import LEASE_S, Doom, Kafkastore, Topic, entries, steady, until
from tests.contract.killed_kafkastore import POINTS, Point

KILLS_A_POINT = 10
FLOWS_AGAIN_S = 30.0
PAUSE_S = 0.05


log = logging.getLogger(__name__)


@pytest.mark.parametrize("point", POINTS)
async def test_nothing_is_lost_when_killed_at_any_point(
    point: Point, doom: Doom, kafkastore: Kafkastore, queue: EventQueue, events: Topic
) -> None:
    batch = entries(500)
    await queue.push(list(batch.values()))
    doomed = doom(point, 2, KAFKASTORE_LEASE_S=str(LEASE_S), KAFKASTORE_BATCH_EVENTS="100")
    assert await asyncio.to_thread(doomed.process.wait, timeout_s=30.0) == -signal.SIGKILL
    ledger = await queue.ledger()
    assert ledger.unaccounted == 0
    # A process holds at most two batches. While it claims and enriches the second one, it ships the first one.
    before_it_is_sent = point in ("after_claim", "after_enrich")
    assert ledger.produced in ((0, 100) if before_it_is_sent else (100,))
    assert ledger.claimed in (100, 200)
    kafkastore()
    await steady(queue, produced=500)
    ids = await events.ids()
    assert set(ids) == set(batch)
    # Only records of batches that were produced but not confirmed are in Kafka twice.
    duplicates = len(ids) - 500
    if before_it_is_sent:
        assert duplicates <= 100 - ledger.produced
    else:
        assert duplicates == {"part_of_send": 50, "whole_send": 100, "before_confirm": 100}[point]


@pytest.mark.endurance
@pytest.mark.timeout(900)
async def test_nothing_is_lost_when_killed_fifty_times_under_load(
    doom: Doom, kafkastore: Kafkastore, queue: EventQueue, admin: QueueAdmin, events: Topic
) -> None:
    # The lease has its default. One instance keeps running, and other instances are killed one after the other.
    survivor = kafkastore(KAFKASTORE_LEASE_S="15", KAFKASTORE_BATCH_EVENTS="50")
    await asyncio.to_thread(survivor.wait_until_ready)
    dice = random.Random(20_261_123)
    points = [point for point in POINTS for _ in range(KILLS_A_POINT)]
    dice.shuffle(points)
    left_behind: dict[str, float] = {}
    waited_s: list[float] = []
    left_by_each: list[int] = []
    async with _load(queue) as pushed, _watch_claims(admin, left_behind, waited_s):
        for point in points:
            doomed = doom(point, dice.randint(1, 5), KAFKASTORE_LEASE_S="15", KAFKASTORE_BATCH_EVENTS="50")
            assert await asyncio.to_thread(doomed.process.wait, timeout_s=60.0) == -signal.SIGKILL
            died_at = time.monotonic()
            left = {key: died_at for key in await admin.claims() if f"-{doomed.pid}-" in key}
            left_by_each.append(len(left))
            left_behind |= left
    await steady(queue, produced=len(pushed))
    assert set(await events.ids()) == pushed
    assert set(left_by_each) <= {1, 2}  # the batch that it shipped, and the next one that it had prepared
    assert max(waited_s) < FLOWS_AGAIN_S
    log.info("%d kills, %d events, claims back after %.1f s", len(points), len(pushed), max(waited_s))


@contextlib.asynccontextmanager
async def _load(queue: EventQueue) -> AsyncIterator[set[str]]:
    """Push continuously, more than one instance can ship, so that every instance finds entries to claim."""
    pushed: set[str] = set()

    async def room() -> bool:
        return (await queue.ledger()).listed < 400

    async def push() -> None:
        while True:
            batch = entries(200)
            pushed.update(batch)
            await queue.push(list(batch.values()))
            await until(room, "the pushed entries are claimed")

    pushing = asyncio.create_task(push())
    try:
        yield pushed
    finally:
        pushing.cancel()
        await asyncio.wait([pushing])
        if not pushing.cancelled():
            pushing.result()


@contextlib.asynccontextmanager
async def _watch_claims(admin: QueueAdmin, left_behind: dict[str, float], waited_s: list[float]) -> AsyncIterator[None]:
    """Record the time until each claim of a dead instance was reclaimed."""
    seen: set[str] = set()

    async def watch() -> None:
        while True:
            held = await admin.claims()
            for key, died_at in list(left_behind.items()):
                if key not in held and key not in seen:
                    seen.add(key)
                    waited_s.append(time.monotonic() - died_at)
            await asyncio.sleep(PAUSE_S)

    watching = asyncio.create_task(watch())
    try:
        yield

        async def all_are_back() -> bool:
            return len(seen) == len(left_behind)

        await until(all_are_back, "the claims of dead instances are reclaimed", limit_s=FLOWS_AGAIN_S + 5)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
