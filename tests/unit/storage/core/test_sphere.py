import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.sphere import (
    EARTH_RADIUS_M,
    PUBLIC_RADIUS_M,
    GeoPoint,
    InvalidLocation,
    destination,
    distance_m,
    parse_point,
    public_point,
)

POINTS = st.builds(GeoPoint, st.floats(-180, 180), st.floats(-90, 90))
UNIT = st.floats(0, 1)


def by_vectors(first: GeoPoint, second: GeoPoint) -> float:
    """The distance by the angle of two vectors, which shares no formula with the haversine."""
    (ax, ay, az), (bx, by, bz) = (
        (
            math.cos(math.radians(lat)) * math.cos(math.radians(lng)),
            math.cos(math.radians(lat)) * math.sin(math.radians(lng)),
            math.sin(math.radians(lat)),
        )
        for lng, lat in (first, second)
    )
    cross = math.hypot(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)
    return 6_378_100.0 * math.atan2(cross, ax * bx + ay * by + az * bz)


@given(POINTS, POINTS)
def test_distance_is_symmetric_to_the_last_bit(first: GeoPoint, second: GeoPoint) -> None:
    assert distance_m(first, second) == distance_m(second, first)


@given(POINTS, POINTS)
def test_distance_agrees_with_the_angle_of_vectors(first: GeoPoint, second: GeoPoint) -> None:
    # asin loses half of its digits near opposite points: 0.2 m of 20,000 km. Radii end at 100 km.
    expected = by_vectors(first, second)
    assert distance_m(first, second) == pytest.approx(expected, abs=1e-6 if expected < 1e6 else 0.3)


def test_distance_crosses_the_antimeridian_and_ignores_longitude_at_the_poles() -> None:
    assert distance_m(GeoPoint(179.9, 0), GeoPoint(-179.9, 0)) == pytest.approx(0.2 * EARTH_RADIUS_M * math.pi / 180)
    assert distance_m(GeoPoint(-180, 10), GeoPoint(180, 10)) == pytest.approx(0, abs=1e-6)
    assert distance_m(GeoPoint(0, 90), GeoPoint(133, 90)) == pytest.approx(0, abs=1e-6)


@given(POINTS, st.floats(0, 7), st.floats(0, 100_000))
def test_destination_has_the_distance(start: GeoPoint, bearing: float, away_m: float) -> None:
    # asin loses digits near a pole too: 0.1 m.
    assert distance_m(start, destination(start, bearing_rad=bearing, distance_m=away_m)) == pytest.approx(
        away_m, abs=0.2 if abs(start.lat) > 88 else 1e-3
    )


@given(POINTS.filter(lambda point: abs(point.lat) < 88), UNIT, UNIT)
def test_public_point_is_within_its_radius_and_valid(location: GeoPoint, first: float, second: float) -> None:
    point = public_point(location, None, iter([first, second]).__next__)
    assert distance_m(location, point) <= PUBLIC_RADIUS_M
    assert parse_point(*point) == point


def test_public_point_is_uniform_in_its_disc() -> None:
    generator = random.Random(7)
    berlin = GeoPoint(13.4, 52.5)
    away = [distance_m(berlin, public_point(berlin, None, generator.random)) for _ in range(4000)]
    inner = sum(each <= PUBLIC_RADIUS_M / 2 for each in away) / len(away)
    assert 0.22 < inner < 0.28, "a quarter of the area is within half of the radius"


def test_public_point_stays_while_it_is_near() -> None:
    generator = random.Random(7)
    berlin = GeoPoint(13.4, 52.5)
    drawn = public_point(berlin, None, generator.random)
    assert public_point(berlin, drawn, generator.random) == drawn
    moved = GeoPoint(13.5, 52.5)
    assert public_point(moved, drawn, generator.random) != drawn


@pytest.mark.parametrize(("lng", "lat"), [(181, 0), (0, -91), (math.nan, 0), (0, math.nan), (math.inf, 0)])
def test_parse_point_rejects_invalid_coordinates(lng: float, lat: float) -> None:
    with pytest.raises(InvalidLocation):
        parse_point(lng, lat)
