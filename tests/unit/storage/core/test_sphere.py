import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.sphere import (
    EARTH_RADIUS_M,
    GeoPoint,
    InvalidLocation,
    destination,
    distance_m,
    parse_point,
)

POINTS = st.builds(GeoPoint, st.floats(-180, 180), st.floats(-90, 90))


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


@pytest.mark.parametrize(("lng", "lat"), [(181, 0), (0, -91), (math.nan, 0), (0, math.nan), (math.inf, 0)])
def test_parse_point_rejects_invalid_coordinates(lng: float, lat: float) -> None:
    with pytest.raises(InvalidLocation):
        parse_point(lng, lat)
