from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumers.core.actions import Selected, SourceRecord, select
from services.consumers.core.places import GEONAMES, EarthPoint, SearchPlaces, distance_km

BOX = {"sw[latitude]": "52.5", "sw[longitude]": "13.3", "ne[latitude]": "52.6", "ne[longitude]": "13.5"}


def selected(query: Any, *, kind: str = "offr", oldest_ms: int = 0) -> list[Selected]:
    record = SourceRecord(0, 1, b"key", f"{kind} id=1&ts=1000 {urlencode(query, doseq=True)}".encode(), ())
    return select(GEONAMES, [record], oldest_ms=oldest_ms)


def search(query: Any) -> SearchPlaces:
    (found,) = selected(query)
    assert not found.invalid
    return msgspec.json.decode(found.action.arguments, type=SearchPlaces)


def test_search_in_a_box_has_its_corners_and_words() -> None:
    found = search({"action": "search", "kw": "#POI museum #hotel,#poi old", "di": "phone", **BOX})
    assert found == SearchPlaces(
        kind="poi",
        south_west=EarthPoint(52.5, 13.3),
        north_east=EarthPoint(52.6, 13.5),
        words=("museum", "old"),
        tags=("#poi", "#hotel"),
    )
    assert found.only_hotels


def test_corners_are_also_the_text_of_ruby_hashes() -> None:
    corners = {
        "sw": '{"latitude"=>"-34.7", "longitude"=>"-58.6"}',
        "ne": '{"longitude" => -58.3, "latitude" => -34.5}',
    }
    found = search({"action": "search", "kw": "#poi", **corners})
    assert (found.south_west, found.north_east) == (EarthPoint(-34.7, -58.6), EarthPoint(-34.5, -58.3))


@pytest.mark.parametrize(
    "keywords",
    [{"kw": "#poi #wikipedia"}, {"kw[]": ["#wikipedia", "#poi"]}, {"kw[0]": "#poi"}, {"kw": ["#wikipedia", "#poi"]}],
)
def test_poi_wins_over_wikipedia_in_each_form_of_keywords(keywords: dict[str, Any]) -> None:
    assert search({"action": "search", **keywords, **BOX}).kind == "poi"


def test_wikipedia_is_searched_in_a_circle_at_the_middle() -> None:
    found = search({"action": "search", "kw": "#wikipedia", **BOX})
    assert found.kind == "wikipedia"
    assert found.middle == pytest.approx((52.55, 13.4))
    assert found.radius_km == 9  # half of a diagonal of 17.5 km


@pytest.mark.parametrize(
    "query",
    [
        {"kw": "#poi", **BOX},
        {"action": "preview", "kw": "#poi", **BOX},
        {"action": "search", "kw": "poi museum", **BOX},
        {"action": "search", **BOX},
        {"action": "search", "kw": "#poi"},
        {"action": "search", "kw": "#poi", "center[latitude]": "52", "center[longitude]": "13", "radius": "300"},
    ],
)
def test_other_event_needs_no_action(query: dict[str, str]) -> None:
    assert selected(query) == []


def test_search_of_searches_needs_no_action() -> None:
    assert selected({"action": "search", "kw": "#poi", **BOX}, kind="srch") == []


def test_search_that_is_old_when_it_is_taken_needs_no_action() -> None:
    assert selected({"action": "search", "kw": "#poi", **BOX}, oldest_ms=1001) == []


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"sw[latitude]": ""}, "sw[latitude]"),
        ({"sw[latitude]": "north"}, "sw[latitude]"),
        ({"sw[latitude]": "52.7"}, "sw"),
        ({"ne[latitude]": "90.1"}, "ne[latitude]"),
        ({"ne[longitude]": "nan"}, "ne[longitude]"),
        ({"ne[longitude]": "181"}, "ne[longitude]"),
        ({"kw": "#poi " + "x" * 101}, "kw"),
        ({"kw": "#poi #" + "x" * 64}, "kw"),
        ({"kw": " ".join(["#poi", *map(str, range(16))])}, "kw"),
    ],
)
def test_wrong_value_is_invalid(changed: dict[str, str], name: str) -> None:
    (found,) = selected({"action": "search", "kw": "#poi", **BOX, **changed})
    assert found.invalid.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("corners", "name"),
    [
        ({"sw": '{"latitude"=>"1", "longitude"=>"2"}'}, "ne"),
        ({"ne": '{"latitude"=>"1", "longitude"=>"2"}'}, "sw"),
        ({"sw": '{"latitude"=>"1"}', "ne": '{"latitude"=>"1", "longitude"=>"2"}'}, "sw[longitude]"),
        ({"sw": "1,2", "ne": "3,4"}, "sw[latitude]"),
        ({"sw": "{" * 201, "ne": "3,4"}, "sw"),
    ],
)
def test_incomplete_box_is_invalid(corners: dict[str, str], name: str) -> None:
    (found,) = selected({"action": "search", "kw": "#poi", **corners})
    assert found.invalid.startswith(f"{name}: ")


LATITUDES = st.floats(-90, 90)
LONGITUDES = st.floats(-180, 180)


@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES)
def test_any_box_has_a_middle_inside_and_a_radius_in_its_limits(
    south: float, west: float, north: float, east: float
) -> None:
    if south > north:
        south, north = north, south
    corners = {"sw[latitude]": south, "sw[longitude]": west, "ne[latitude]": north, "ne[longitude]": east}
    found = search({"action": "search", "kw": "#wikipedia", **corners})
    assert 1 <= found.radius_km <= 20
    assert south <= found.middle.latitude <= north
    offset = (found.middle.longitude - west) % 360.0
    width = (east - west) % 360.0
    assert offset == pytest.approx(width / 2, abs=1e-6) or offset == pytest.approx(360.0, abs=1e-6)


@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES)
def test_distance_is_symmetric_and_at_most_half_the_earth(
    latitude: float, longitude: float, other_latitude: float, other_longitude: float
) -> None:
    first, second = EarthPoint(latitude, longitude), EarthPoint(other_latitude, other_longitude)
    assert distance_km(first, second) == pytest.approx(distance_km(second, first))
    assert 0.0 <= distance_km(first, second) <= 20_038
