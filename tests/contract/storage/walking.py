"""Walks of a device past an offer: fixes with noise, and a device and a pair without a database."""

import math
import random
from collections.abc import Iterator

import msgspec

from services.storage.core.matching import Match, decide
from services.storage.core.movement import Fix, effect_of
from services.storage.core.objects import StoredObject, move_object
from services.storage.core.pairs import Judged, PairState, next_state
from services.storage.core.sphere import GeoPoint, destination
from tests.contract.storage.storing import BERLIN, UNIT, new_object

RADIUS_M = 300.0
NOISE_M = 15.0
STEP_S = 10
BEGIN_MS = 1_700_000_000_000


def at(east_m: float, north_m: float = 0.0) -> GeoPoint:
    """Return the point at this distance from the offer."""
    bearing = math.atan2(east_m, north_m)
    return destination(BERLIN, bearing_rad=bearing, distance_m=math.hypot(east_m, north_m))


def noisy(generator: random.Random, *places: tuple[float, float]) -> list[Fix]:
    """Return a fix each 10 s, with 15 m of noise. A place is the distance east and north of the offer in metres."""
    return [
        Fix(
            BEGIN_MS + 1000 * STEP_S * number,
            at(generator.gauss(east, NOISE_M), generator.gauss(north, NOISE_M)),
            accuracy_m=NOISE_M,
        )
        for number, (east, north) in enumerate(places)
    ]


def straight(begin_m: float, end_m: float) -> Iterator[tuple[float, float]]:
    """Yield the places of a walk past the offer from west to east, at 1.4 m/s and 40 m north of its centre."""
    for step in range(int((end_m - begin_m) / 1.4 / STEP_S)):
        yield begin_m + 1.4 * STEP_S * step, 40.0


def stay(east_m: float, seconds: int) -> list[tuple[float, float]]:
    """Return the places of a device at rest."""
    return [(east_m, 0.0)] * (seconds // STEP_S)


PAST = [*straight(-900.0, 900.0), *stay(900.0, 200)]
EDGE = stay(RADIUS_M, 3600)
OUT_AND_BACK = [*stay(0.0, 300), *stay(RADIUS_M + 200.0, 300), *stay(0.0, 300)]


class Walker:
    """A device with a search, and its pair with an offer: the calls of the routes and of the matcher, without them."""

    def __init__(self) -> None:
        self.offer = new_object("offer", "o", now_ms=BEGIN_MS, location=BERLIN, radius_m=RADIUS_M)
        self.device = new_object("search", "s", now_ms=BEGIN_MS, location=at(-5000.0), radius_m=RADIUS_M)
        self.pair: PairState | None = None
        self.entered_m: list[float] = []
        """The distance at each entering."""

    def take(self, fix: Fix) -> None:
        """Store a fix as `POST /store/geo` does."""
        device = self.device
        effect = effect_of(fix, last=device.fix, matched=device.current_matched_location, is_leaving=device.is_leaving)
        if effect in ("moved", "inexact"):
            self.device = move_object(device, fix, exact=effect == "moved", now_ms=fix.at_ms + 500, random_unit=UNIT)

    def match(self, now_ms: int) -> None:
        """Match the device as the matcher does."""
        device = self.device
        decision = decide(self.offer.side, device.side, now_ms)
        judged = Judged(self.offer.side, device.side, decision, now_ms, search_fixes=device.fixes)
        before = self.encounters
        if self.pair is not None or isinstance(decision, Match):
            self.pair = next_state(self.pair, judged) or self.pair
        if self.encounters > before:
            self.entered_m.append(decision.distance_m)
        self.device = self._matched(device)

    @property
    def encounters(self) -> int:
        return 0 if self.pair is None else self.pair.encounter

    @property
    def is_in(self) -> bool:
        return self.pair is not None and self.pair.is_in

    def _matched(self, device: StoredObject) -> StoredObject:
        is_leaving = self.pair is not None and self.pair.is_in and self.pair.search_leaving.fixes > 0
        return msgspec.structs.replace(device, matched_location=device.fields.location, is_leaving=is_leaving)
