"""Play the scene once and compare: every pair that matches is reported, no other one, and every event is counted."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from deploy.demo.matching import MatchingDemo
from deploy.demo.sample import Pair
from deploy.operate.send import SendCounts
from deploy.operate.status import Status, StatusReader

STALL_LIMIT_S: Final = 60.0
"""Time without a new match or a counted event after which a check gives up, as in a replay."""
STOPS_M: Final = (900.0, 1_800.0)
"""The distances along their paths at which the moving objects stop. No pair is within 10 m of an edge there."""
_REFRESH_S: Final = 0.1


class MatchingResult(NamedTuple):
    """The result of a played scene."""

    offers: int
    searches: int
    matches: int
    """The number of notifications, each counted once."""
    events: int
    """The events of storage and of the moving objects that every consumer has counted."""
    lost: int
    """Events that were sent and are neither counted, nor dead, nor waiting."""
    errors: tuple[str, ...]
    """A sentence for each difference."""

    @property
    def exit_code(self) -> int:
        """0 if there is no difference."""
        return 1 if self.errors else 0


async def play_once(demo: MatchingDemo, reader: StatusReader, *, sent: SendCounts) -> MatchingResult:
    """Post the objects of the scene, move them to each stop, and wait for the matches and the counted events.

    The system must have counted all other events before.
    """
    scene, log = demo.scene, demo.log
    await demo.wait_until_ready()
    before = await reader.read()
    await scene.post()
    expected = scene.sample.pairs()
    await _wait_for_pairs(demo, expected)
    for stop_m in STOPS_M:
        await scene.move(stop_m)
        expected |= scene.sample.pairs(stop_m)
        await _wait_for_pairs(demo, expected)
    owed = demo.events + sent.sent
    async for after in _statuses(reader):
        if after.counted_by_all - before.counted_by_all >= owed and after.ledger.waiting == 0:
            break
    counted = after.counted_by_all - before.counted_by_all
    lost = owed - counted - (after.ledger.dead - before.ledger.dead) - (after.ledger.waiting - before.ledger.waiting)
    errors = [f"{count:,} requests to storage failed: {reason}" for reason, count in scene.failures.items()]
    errors += [f"{count:,} location events were not acknowledged: {reason}" for reason, count in sent.failures.items()]
    errors += [f"no match was reported: {pair.search} and {pair.offer}" for pair in sorted(expected - _pairs(demo))]
    errors += [
        f"a wrong match was reported: {pair.search} and {pair.offer}" for pair in sorted(_pairs(demo) - expected)
    ]
    errors += [f"{lost:,} events of offers, searches and locations are lost"] if lost else []
    return MatchingResult(
        offers=scene.posted["offers"],
        searches=scene.posted["searches"],
        matches=log.count,
        events=counted,
        lost=lost,
        errors=tuple(errors),
    )


def _pairs(demo: MatchingDemo) -> set[Pair]:
    return {Pair(found.search_owner, found.offer_owner) for found in demo.log.matches}


async def _wait_for_pairs(demo: MatchingDemo, expected: set[Pair]) -> None:
    """Return when all pairs are reported, or after STALL_LIMIT_S without a new one."""
    seen, seen_s = -1, 0.0
    while not _pairs(demo) >= expected:
        if demo.log.count != seen:
            seen, seen_s = demo.log.count, time.monotonic()
        elif time.monotonic() - seen_s > STALL_LIMIT_S:
            return
        await asyncio.sleep(_REFRESH_S)


async def _statuses(reader: StatusReader) -> AsyncIterator[Status]:
    """Yield the status until it does not change for STALL_LIMIT_S."""
    last: Status | None = None
    changed_s = time.monotonic()
    while time.monotonic() - changed_s <= STALL_LIMIT_S:
        status = await reader.read()
        if status != last:
            last, changed_s = status, time.monotonic()
        yield status
        await asyncio.sleep(_REFRESH_S)
