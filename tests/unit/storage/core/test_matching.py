import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.matching import Match, MatchSide, NoMatch, decide
from services.storage.core.sphere import GeoPoint, distance_m

NOW = 1_700_000_000_000
TIMES = st.one_of(st.none(), st.integers(NOW - 2, NOW + 2))
# Near each other, so that half of the pairs are in reach.
NEAR = st.builds(GeoPoint, st.floats(-0.01, 0.01), st.floats(-0.01, 0.01))
SIDES = st.builds(
    MatchSide,
    id=st.sampled_from(["a", "b"]),
    owner=st.sampled_from(["ann", "bob", "eve"]),
    location=NEAR,
    radius_m=st.one_of(st.floats(0, 3000), st.just(0.0)),
    keys=st.lists(st.sampled_from("xyz"), max_size=2, unique=True).map(tuple),
    is_active=st.integers(0, 5).map(bool),
    valid_from_ms=TIMES,
    valid_until_ms=TIMES,
)


def plainly(offer: MatchSide, search: MatchSide) -> bool | None:
    """The rule as services.md has it, on vectors. None: too near the edge for another formula."""

    def vector(point: GeoPoint) -> tuple[float, float, float]:
        lng, lat = (degrees * math.pi / 180 for degrees in point)
        return math.cos(lat) * math.cos(lng), math.cos(lat) * math.sin(lng), math.sin(lat)

    chord = math.dist(vector(offer.location), vector(search.location))
    distance = 6_378_100 * 2 * math.asin(chord / 2)
    smaller = min(offer.radius_m, search.radius_m)
    if abs(distance - smaller) < 1e-6:
        return None
    for each in (offer, search):
        begin = -math.inf if each.valid_from_ms is None else each.valid_from_ms
        end = math.inf if each.valid_until_ms is None else each.valid_until_ms
        if not (each.is_active and begin <= NOW < end):
            return False
    return distance < smaller and offer.owner != search.owner and bool(set(offer.keys) & set(search.keys))


@given(SIDES, SIDES)
def test_rule_agrees_with_a_plain_oracle(offer: MatchSide, search: MatchSide) -> None:
    expected = plainly(offer, search)
    if expected is not None:
        assert isinstance(decide(offer, search, NOW), Match) is expected


@given(SIDES, SIDES)
def test_rule_is_symmetric(first: MatchSide, second: MatchSide) -> None:
    one, other = decide(first, second, NOW), decide(second, first, NOW)
    assert type(one) is type(other)
    assert one.distance_m == other.distance_m
    assert set(one.keys) == set(other.keys)


@given(NEAR, NEAR)
def test_exact_edge_matches_and_the_next_smaller_radius_does_not(first: GeoPoint, second: GeoPoint) -> None:
    edge = distance_m(first, second)
    offer = MatchSide("o", "ann", first, edge, ("x",))
    search = MatchSide("s", "bob", second, edge, ("x",))
    assert decide(offer, search, NOW) == Match(edge, ("x",))
    if edge > 0:
        smaller = msgspec.structs.replace(search, radius_m=math.nextafter(edge, 0))
        assert decide(offer, smaller, NOW) == NoMatch(edge, ("x",), ("outside_search_radius",))


def test_radius_zero_matches_at_the_same_point() -> None:
    point = GeoPoint(13.4, 52.5)
    offer, search = MatchSide("o", "ann", point, 0.0, ("x",)), MatchSide("s", "bob", point, 0.0, ("x",))
    assert decide(offer, search, NOW) == Match(0.0, ("x",))


@pytest.mark.parametrize(
    ("lng", "lat", "other_lng"), [(179.999, 0.0, -179.999), (0.0, 90.0, 120.0), (-180.0, 52.0, 180.0)]
)
def test_antimeridian_and_poles_are_near(lng: float, lat: float, other_lng: float) -> None:
    offer = MatchSide("o", "ann", GeoPoint(lng, lat), 300.0, ("x",))
    search = MatchSide("s", "bob", GeoPoint(other_lng, lat), 300.0, ("x",))
    assert isinstance(decide(offer, search, NOW), Match)


def test_all_reasons_are_returned() -> None:
    offer = MatchSide("o", "ann", GeoPoint(0, 0), 1, ("x",), is_active=False, valid_from_ms=NOW + 1, valid_until_ms=NOW)
    search = msgspec.structs.replace(offer, id="s", location=GeoPoint(1, 1), keys=("y",))
    found = decide(offer, search, NOW)
    assert isinstance(found, NoMatch)
    assert set(found.reasons) == {
        *("outside_offer_radius", "outside_search_radius", "no_common_key", "same_owner"),
        *("offer_inactive", "search_inactive", "offer_not_yet_valid", "search_not_yet_valid"),
        *("offer_expired", "search_expired"),
    }
    assert not found.is_distance_only


@pytest.mark.parametrize(("now", "valid"), [(9, False), (10, True), (19, True), (20, False)])
def test_validity_includes_its_start_and_excludes_its_end(now: int, *, valid: bool) -> None:
    offer = MatchSide("o", "ann", GeoPoint(0, 0), 1, ("x",), valid_from_ms=10, valid_until_ms=20)
    search = MatchSide("s", "bob", GeoPoint(0, 0), 1, ("x",))
    assert isinstance(decide(offer, search, now), Match) is valid
