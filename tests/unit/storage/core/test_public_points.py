import math
import random
import statistics

from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.public_points import PUBLIC_RADIUS_M, cell_of, public_point, seeded_unit
from services.storage.core.sphere import GeoPoint, destination, distance_m, parse_point

POINTS = st.builds(GeoPoint, st.floats(-180, 180), st.floats(-90, 90))
UNIT = st.floats(0, 1)
KEY = b"k" * 32
HOME = GeoPoint(13.412345678, 52.523456789)


def public(location: GeoPoint, owner: str = "ann", key: bytes = KEY) -> GeoPoint:
    return public_point(location, seeded_unit(key, owner, location))


@given(POINTS, UNIT, UNIT)
def test_public_point_is_within_its_radius_and_valid(location: GeoPoint, first: float, second: float) -> None:
    point = public_point(location, iter([first, second]).__next__)
    # asin loses digits near a pole: 0.2 m.
    assert distance_m(location, point) <= PUBLIC_RADIUS_M + (0.2 if abs(location.lat) > 88 else 0.0)
    assert parse_point(*point) == point


@given(POINTS, st.floats(0, 7), st.floats(0, 400))
def test_cell_is_small(location: GeoPoint, bearing: float, away_m: float) -> None:
    other = destination(location, bearing_rad=bearing, distance_m=away_m)
    assert cell_of(other) != cell_of(location) or away_m < 300


def test_one_place_has_one_public_point_for_each_owner() -> None:
    assert public(HOME) == public(HOME)
    assert public(HOME, "bob") != public(HOME)
    assert public(HOME, key=b"x" * 32) != public(HOME)


def test_fixes_with_noise_and_ways_home_do_not_average_to_the_place() -> None:
    draw = random.Random(14)
    for number in range(50):
        home = GeoPoint(13.0 + draw.random(), 52.0 + draw.random())
        seen = set()
        for _ in range(300):
            away_m, bearing = abs(draw.gauss(0, 15)), draw.uniform(0, 2 * math.pi)
            seen.add(public(destination(home, bearing_rad=bearing, distance_m=away_m), f"owner-{number}"))
        assert len(seen) <= 4, "a place with its noise is in at most four cells"


def test_public_points_are_uniform_around_the_cell() -> None:
    points = [public(HOME, f"owner-{number}") for number in range(2000)]
    away = [distance_m(HOME, point) for point in points]
    assert statistics.mean(away) > 200
    inner = sum(each <= (PUBLIC_RADIUS_M - 142.4) / math.sqrt(2) for each in away) / len(away)
    assert 0.4 < inner < 0.6, "the points are uniform in a disc around the cell"
