"""Play the scene once and compare: both sides of each pair that matches get a message, and each event is counted."""

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
_SIDES: Final = ("search", "offer")
_REFRESH_S: Final = 0.1


class MatchingResult(NamedTuple):
    """The result of a played scene."""

    offers: int
    searches: int
    matches: int
    messages: int
    """The number of messages that the phones received, each counted once."""
    events: int
    """The events of objects, fixes and matches that every consumer has counted."""
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
    scene, phones = demo.scene, demo.phones
    await demo.wait_until_ready()
    await demo.register()
    before = await reader.read()
    await scene.post()
    expected = scene.sample.pairs()
    await _wait_for_pairs(demo, expected)
    for stop_m in STOPS_M:
        await scene.move(stop_m)
        expected |= scene.sample.pairs(stop_m)
        await _wait_for_pairs(demo, expected)
    async for after in _statuses(reader):
        owed = demo.events + sent.sent
        if after.counted_by_all - before.counted_by_all >= owed and after.ledger.waiting == 0:
            break
    counted = after.counted_by_all - before.counted_by_all
    lost = owed - counted - (after.ledger.dead - before.ledger.dead) - (after.ledger.waiting - before.ledger.waiting)
    errors = [f"{count:,} requests to storage failed: {reason}" for reason, count in scene.failures.items()]
    errors += [f"{count:,} location events were not acknowledged: {reason}" for reason, count in sent.failures.items()]
    for side in _SIDES:
        found = demo.pairs(side)
        errors += [f"the {side} got no message: {pair.search} and {pair.offer}" for pair in sorted(expected - found)]
        errors += [
            f"the {side} got a wrong message: {pair.search} and {pair.offer}" for pair in sorted(found - expected)
        ]
    errors += [f"{lost:,} events of offers, searches, locations and matches are lost"] if lost else []
    return MatchingResult(
        offers=scene.posted["offers"],
        searches=scene.posted["searches"],
        matches=phones.matches,
        messages=phones.count,
        events=counted,
        lost=lost,
        errors=tuple(errors),
    )


async def _wait_for_pairs(demo: MatchingDemo, expected: set[Pair]) -> None:
    """Return when both sides of all pairs have a message, or after STALL_LIMIT_S without a new one."""
    seen, seen_s = -1, 0.0
    while not all(demo.pairs(side) >= expected for side in _SIDES):
        if demo.phones.count != seen:
            seen, seen_s = demo.phones.count, time.monotonic()
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
