"""Moving objects: which location fixes count, and when a moved object leaves a pair.

Entering follows the exact rule. Leaving has a margin and a duration, because a location fix has noise: at the edge of a
circle the exact rule would report a new encounter with every second fix.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from services.storage.core.sphere import GeoPoint, distance_m

LEAVE_S: Final = 120.0
"""The default of the time that the fixes outside must span."""
MAX_ACCURACY_M: Final = 500.0
"""The default of the largest accuracy radius of a fix that is matched."""
UNMOVED_M: Final = 10.0
"""A device within this distance of the location where it was last matched is not matched again."""
MIN_LEAVE_MARGIN_M: Final = 50.0
_MIN_FIXES_OUTSIDE: Final = 2
KEPT_FIXES: Final = 8
"""The number of newest fixes that an object keeps, so that fixes between two matchings are not lost."""


class Fix(msgspec.Struct, frozen=True):
    """A measured location of a device."""

    at_ms: int
    location: GeoPoint
    accuracy_m: float = 0.0


class Leaving(msgspec.Struct, frozen=True):
    """The fixes outside in a row, of a pair that is in. Zero fixes: it is not leaving."""

    fixes: int = 0
    since_ms: int = 0
    """The time of the first of them."""
    seen_ms: int = 0
    """The time of the newest fix that was considered."""


def leave_margin_m(radius_m: float, accuracy_m: float) -> float:
    """Return by how much a fix must exceed the radius to count as outside."""
    return max(MIN_LEAVE_MARGIN_M, 0.05 * radius_m, 2.0 * accuracy_m)


def follow(
    leaving: Leaving,
    fixes: Iterable[Fix],
    *,
    centre: GeoPoint,
    radius_m: float,
    leave_s: float = LEAVE_S,
) -> tuple[Leaving, bool]:
    """Return the state after the fixes, and whether the object has left.

    Fixes count in the order of their times, and each counts once: fixes up to `seen_ms` are ignored. `radius_m` is the
    smaller radius of the pair. The object has left when at least two fixes in a row, which span `leave_s`, are outside.
    """
    for fix in sorted(fixes, key=lambda each: each.at_ms):
        if fix.at_ms <= leaving.seen_ms:
            continue
        if distance_m(fix.location, centre) <= radius_m + leave_margin_m(radius_m, fix.accuracy_m):
            leaving = Leaving(seen_ms=fix.at_ms)
            continue
        since_ms = leaving.since_ms if leaving.fixes else fix.at_ms
        leaving = Leaving(leaving.fixes + 1, since_ms, fix.at_ms)
        if leaving.fixes >= _MIN_FIXES_OUTSIDE and fix.at_ms - since_ms >= 1000.0 * leave_s:
            return leaving, True
    return leaving, False


FixEffect = Literal["stale", "inexact", "unmoved", "moved"]
"""The effect of a fix on its object.

- stale: it changes nothing, because it is not newer than the stored one
- inexact: it is stored, and not matched
- unmoved: it changes nothing, because the device has not moved since it was last matched
- moved: it is stored and matched
"""


def effect_of(
    fix: Fix,
    *,
    last: Fix | None,
    matched: GeoPoint | None,
    is_leaving: bool,
    max_accuracy_m: float = MAX_ACCURACY_M,
) -> FixEffect:
    """Return the effect of a fix.

    `matched` is the location where the object was last matched. While a pair of the object is leaving, each fix counts,
    because a device at rest outside must leave too.
    """
    if last is not None and fix.at_ms <= last.at_ms:
        return "stale"
    if fix.accuracy_m > max_accuracy_m:
        return "inexact"
    if matched is not None and not is_leaving and distance_m(fix.location, matched) <= UNMOVED_M:
        return "unmoved"
    return "moved"
