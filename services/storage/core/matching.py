"""The rule: whether an offer and a search match, and if not, every reason.

The rule is symmetric. The index proposes candidates in either direction, and only `decide` accepts them. So both
directions give the same set of pairs.
"""

from typing import Final, Literal, NamedTuple

import msgspec

from services.storage.core.sphere import GeoPoint, distance_m

SubjectKind = Literal["offer", "search"]
Mismatch = Literal[
    "outside_offer_radius",
    "outside_search_radius",
    "no_common_key",
    "same_owner",
    "offer_inactive",
    "search_inactive",
    "offer_not_yet_valid",
    "search_not_yet_valid",
    "offer_expired",
    "search_expired",
]
"""A reason why a pair does not match."""

DISTANCE_MISMATCHES: frozenset[Mismatch] = frozenset({"outside_offer_radius", "outside_search_radius"})


class MatchSide(msgspec.Struct, frozen=True, gc=False):
    """The fields of an object that the rule needs."""

    id: str
    owner: str
    location: GeoPoint
    radius_m: float
    keys: tuple[str, ...]
    version: int = 1
    edited_version: int = 1
    """The version of the last change that was more than a new location fix."""
    is_active: bool = True
    valid_from_ms: int | None = None
    """None: always. So is `valid_until_ms`."""
    valid_until_ms: int | None = None
    fixed_ms: int = 0
    """The time of the newest exact location fix."""


class Match(NamedTuple):
    """The pair matches."""

    distance_m: float
    keys: tuple[str, ...]
    """The common keys, in the order of the offer."""


class NoMatch(NamedTuple):
    """The pair does not match."""

    distance_m: float
    keys: tuple[str, ...]
    reasons: tuple[Mismatch, ...]
    """All reasons, never empty."""

    @property
    def is_distance_only(self) -> bool:
        """Whether the distance is the only reason."""
        return DISTANCE_MISMATCHES.issuperset(self.reasons)


Decision = Match | NoMatch


def decide(offer: MatchSide, search: MatchSide, now_ms: int) -> Decision:
    """Decide a pair at a time.

    A pair matches if its distance is at most both radii, both share a key, their owners differ, and both are active
    and valid. An object is valid from `valid_from_ms` on and before `valid_until_ms`.
    """
    away_m = distance_m(offer.location, search.location)
    keys = tuple([key for key in offer.keys if key in search.keys])
    reasons: list[Mismatch] = []
    if away_m > offer.radius_m:
        reasons.append("outside_offer_radius")
    if away_m > search.radius_m:
        reasons.append("outside_search_radius")
    if not keys:
        reasons.append("no_common_key")
    if offer.owner == search.owner:
        reasons.append("same_owner")
    _add_state(reasons, offer, _OFFER_STATES, now_ms)
    _add_state(reasons, search, _SEARCH_STATES, now_ms)
    return NoMatch(away_m, keys, tuple(reasons)) if reasons else Match(away_m, keys)


_States = tuple[Mismatch, Mismatch, Mismatch]
_OFFER_STATES: Final[_States] = ("offer_inactive", "offer_not_yet_valid", "offer_expired")
_SEARCH_STATES: Final[_States] = ("search_inactive", "search_not_yet_valid", "search_expired")


def _add_state(reasons: list[Mismatch], side: MatchSide, states: _States, now_ms: int) -> None:
    inactive, not_yet_valid, expired = states
    if not side.is_active:
        reasons.append(inactive)
    if side.valid_from_ms is not None and now_ms < side.valid_from_ms:
        reasons.append(not_yet_valid)
    if side.valid_until_ms is not None and now_ms >= side.valid_until_ms:
        reasons.append(expired)
