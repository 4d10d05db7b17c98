import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.radii import CLASSES, MAX_RADIUS_M, InvalidRadius, discs, parse_radius, radius_class

RADII = st.one_of(
    st.floats(0, MAX_RADIUS_M),
    st.builds(
        lambda n, to: min(MAX_RADIUS_M, math.nextafter(2.0**n, to)), st.integers(0, 17), st.sampled_from([0, 1e9])
    ),
    st.builds(lambda n: min(MAX_RADIUS_M, 2.0**n), st.integers(0, 17)),
)


@given(RADII)
def test_radius_class_is_the_smallest_that_contains_the_radius(radius: float) -> None:
    assert radius_class(radius) == next(n for n in range(7, 18) if 2**n >= radius)


@given(subject=RADII, other=RADII, part=st.floats(0, 1))
def test_discs_miss_no_match(subject: float, other: float, part: float) -> None:
    distance = part * min(subject, other)
    assert [disc for disc in discs(subject) if radius_class(other) in disc.classes and distance <= disc.radius_m]


@given(RADII)
def test_discs_contain_each_class_once_and_are_at_most_eleven(radius: float) -> None:
    found = discs(radius)
    assert sorted(n for disc in found for n in disc.classes) == list(CLASSES)
    assert len(found) <= 11
    assert all(disc.radius_m <= radius for disc in found)


@given(RADII)
def test_discs_begin_with_the_larger_classes(radius: float) -> None:
    smallest = [min(disc.classes) for disc in discs(radius)]
    assert smallest == sorted(smallest, reverse=True)


def test_largest_radius_asks_eleven_discs() -> None:
    assert len(discs(MAX_RADIUS_M)) == 11


@pytest.mark.parametrize("radius", [-1, MAX_RADIUS_M + 1, math.nan, math.inf])
def test_parse_radius_rejects_what_is_out_of_range(radius: float) -> None:
    with pytest.raises(InvalidRadius):
        parse_radius(radius)


def test_missing_radius_is_the_default() -> None:
    assert parse_radius(None) == 500.0
