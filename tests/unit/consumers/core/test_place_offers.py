import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumers.core.place_offers import (
    NamedPlace,
    OldPlaceOffer,
    box_around,
    geoid_of,
    nearest,
    place_id,
    plan_offers,
)
from services.consumers.core.places import EarthPoint, SearchPlaces

MIDDLE = EarthPoint(52.5, 13.4)
SEARCH = SearchPlaces("poi", EarthPoint(52.4, 13.3), EarthPoint(52.6, 13.5), ("museum",), ("#poi", "#hotel"))
NOW_MS = 1_000_000


def place(geoid: str, latitude: float = 52.5, longitude: float = 13.4, *, link: str = "") -> NamedPlace:
    return NamedPlace(geoid, f"Place {geoid}", EarthPoint(latitude, longitude), link)


def test_nearest_places_are_taken_whatever_their_order() -> None:
    places = [place(str(number), 52.5 + number / 1000) for number in range(200)]
    found = nearest(reversed(places), MIDDLE)
    assert found == nearest(places, MIDDLE) == places[:51]


def test_place_far_from_the_middle_is_ignored() -> None:
    near, far = place("1", 52.5 + 19.9 / 111.32), place("2", 52.5 + 20.1 / 111.32)
    assert nearest([far, near], MIDDLE) == [near]


@given(st.lists(st.builds(EarthPoint, st.floats(-90, 90), st.floats(-180, 180)), max_size=200))
def test_box_of_a_search_of_the_whole_earth_is_small(points: list[EarthPoint]) -> None:
    middle = EarthPoint(0.0, 0.0)
    places = nearest([*(NamedPlace(str(at), "", point) for at, point in enumerate(points)), place("m", 0, 0)], middle)
    box = box_around(places, middle)
    assert box.north - box.south < 0.4
    assert box.east - box.west < 0.4


def test_place_that_comes_twice_is_taken_once() -> None:
    assert nearest([place("1"), place("1", 52.6)], MIDDLE) == [place("1")]


def test_id_is_that_of_geonames_or_the_digest_of_the_article() -> None:
    assert place_id(2950159, "en.wikipedia.org/wiki/Berlin") == "2950159"
    digest = hashlib.sha256(b"en.wikipedia.org/wiki/Berlin").hexdigest()
    assert place_id(None, "en.wikipedia.org/wiki/Berlin") == place_id(0, "en.wikipedia.org/wiki/Berlin") == digest


def test_new_place_becomes_an_offer_for_seven_days() -> None:
    plan = plan_offers(SEARCH, [place("7", link="https://a.example")], [], now_ms=NOW_MS)
    assert (plan.changed, plan.removed) == ([], [])
    assert [msgspec.to_builtins(offer) for offer in plan.new] == [
        {
            "owner": "GeonamesOrg",
            "text": "Place 7",
            "keywords": ("#poi", "#hotel", "#all"),
            "location": {"type": "Point", "coordinates": (13.4, 52.5)},
            "radiusMeters": 225,
            "validfrom": NOW_MS,
            "validuntil": NOW_MS + 7 * 86_400_000,
            "showLocation": True,
            "allowContacts": True,
            "isActive": True,
            "extdata": {"geoid": "7", "link": "https://a.example"},
        }
    ]


def test_old_offer_of_a_place_is_changed_and_its_duplicates_are_removed() -> None:
    old = [OldPlaceOffer("b", "7", NOW_MS + 1), OldPlaceOffer("a", "7", NOW_MS - 1), OldPlaceOffer("c", "8", None)]
    plan = plan_offers(SEARCH, [place("7")], old, now_ms=NOW_MS)
    assert [offer.id for offer in plan.changed] == ["a"]
    assert (plan.new, plan.removed) == ([], ["b"])


def test_old_offer_that_is_hidden_becomes_visible() -> None:
    plan = plan_offers(SEARCH, [place("7")], [OldPlaceOffer("a", "7", None)], now_ms=NOW_MS)
    (changed,) = (msgspec.to_builtins(offer) for offer in plan.changed)
    assert (changed["isActive"], changed["validfrom"]) == (True, NOW_MS)


def test_offers_of_other_places_are_removed_only_after_their_validity() -> None:
    old = [OldPlaceOffer("a", "8", NOW_MS - 1), OldPlaceOffer("b", "9", NOW_MS), OldPlaceOffer("c", "", NOW_MS - 1)]
    assert plan_offers(SEARCH, [place("7")], old, now_ms=NOW_MS).removed == ["a", "c"]


@pytest.mark.parametrize(("value", "expected"), [("7", "7"), (7, "7"), (None, ""), (True, ""), ([7], "")])
def test_id_of_an_offer_is_a_text_or_a_number(value: object, expected: str) -> None:
    assert geoid_of({"geoid": value}) == expected


IDS = st.sampled_from([str(number) for number in range(12)])


@given(st.lists(IDS, unique=True), st.lists(st.tuples(IDS, st.integers(0, 2 * NOW_MS))))
def test_each_place_has_one_offer_after_any_plan_and_its_repetition(
    geoids: list[str], before: list[tuple[str, int]]
) -> None:
    old = [OldPlaceOffer(f"offer-{number}", geoid, until) for number, (geoid, until) in enumerate(before)]
    places = [place(geoid) for geoid in geoids]
    for now_ms in (NOW_MS, NOW_MS + 1):
        plan = plan_offers(SEARCH, places, old, now_ms=now_ms)
        gone = {*plan.removed, *(offer.id for offer in plan.changed)}
        assert len(gone) == len(plan.removed) + len(plan.changed)
        written = [*plan.changed, *plan.new]
        old = [offer for offer in old if offer.id not in gone] + [
            OldPlaceOffer(offer.id or f"new-{offer.extdata['geoid']}", offer.extdata["geoid"], offer.validuntil)
            for offer in written
        ]
        assert sorted(offer.geoid for offer in old if offer.geoid in geoids) == sorted(geoids)
        assert all(offer.valid_until_ms is None or offer.valid_until_ms >= now_ms for offer in old)


POINTS = st.builds(EarthPoint, st.floats(-90, 90), st.floats(-180, 180))


@given(st.lists(POINTS, min_size=1, max_size=5), POINTS)
def test_box_contains_each_place(points: list[EarthPoint], middle: EarthPoint) -> None:
    box = box_around([NamedPlace(str(at), "", point) for at, point in enumerate(points)], middle)
    assert -90 <= box.south <= box.north <= 90
    assert -180 <= box.west <= 180
    assert -180 <= box.east <= 180
    for point in points:
        assert box.south <= point.latitude <= box.north
        is_inside = box.west <= point.longitude <= box.east
        if box.west > box.east:
            is_inside = point.longitude >= box.west or point.longitude <= box.east
        assert is_inside


def test_box_of_near_places_is_small_at_the_antimeridian() -> None:
    box = box_around([place("1", 0.0, 179.99), place("2", 0.0, -179.99)], EarthPoint(0.0, 180.0))
    assert (box.west, box.east) == pytest.approx((179.989, -179.989))
