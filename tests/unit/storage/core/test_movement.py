import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.movement import Fix, Leaving, effect_of, follow, leave_margin_m
from services.storage.core.sphere import EARTH_RADIUS_M, GeoPoint

CENTRE = GeoPoint(0.0, 0.0)
RADIUS_M = 500.0
DEGREE_M = EARTH_RADIUS_M * 3.141592653589793 / 180


def fix(at_s: float, away_m: float, accuracy_m: float = 10.0) -> Fix:
    return Fix(int(1000 * at_s), GeoPoint(0.0, away_m / DEGREE_M), accuracy_m)


def run(*fixes: Fix) -> tuple[Leaving, bool]:
    return follow(Leaving(), fixes, centre=CENTRE, radius_m=RADIUS_M)


@pytest.mark.parametrize(
    ("radius", "accuracy", "margin"), [(100, 10, 50), (2000, 10, 100), (100, 40, 80), (10_000, 300, 600)]
)
def test_margin_is_the_largest_of_three(radius: float, accuracy: float, margin: float) -> None:
    assert leave_margin_m(radius, accuracy) == margin


@pytest.mark.parametrize(
    ("fixes", "left"),
    [
        ([fix(1, 600)], False),
        ([fix(1, 600), fix(120, 600)], False),
        ([fix(1, 600), fix(121, 600)], True),
        ([fix(1, 600), fix(60, 400), fix(121, 600)], False),
        ([fix(1, 600), fix(60, 540), fix(121, 600)], False),  # within the margin of 50 m
        ([fix(1, 600, 60), fix(121, 600, 60)], False),  # within twice the accuracy
        ([fix(1, 600), fix(50, 600), fix(90, 600), fix(125, 600)], True),
    ],
)
def test_object_leaves_after_two_fixes_outside_in_a_row_that_span_the_time(fixes: list[Fix], *, left: bool) -> None:
    assert run(*fixes)[1] is left


@given(st.lists(st.tuples(st.integers(1, 600), st.sampled_from([400, 540, 600])), unique_by=lambda each: each[0]))
def test_fixes_one_by_one_have_the_same_effect_as_together(walk: list[tuple[int, float]]) -> None:
    fixes = [fix(at, away) for at, away in sorted(walk)]
    together, left = run(*random.Random(len(walk)).sample(fixes, len(fixes)))
    one_by_one, gone = Leaving(), False
    for each in fixes:
        one_by_one, gone = follow(one_by_one, [each, each], centre=CENTRE, radius_m=RADIUS_M)
        if gone:
            break
    assert (together, left) == (one_by_one, gone)


@pytest.mark.parametrize(
    ("new", "last", "matched", "leaving", "effect"),
    [
        (fix(10, 0), None, None, False, "moved"),
        (fix(10, 0), fix(10, 50), None, False, "stale"),
        (fix(9, 0), fix(10, 50), None, False, "stale"),
        (fix(11, 0, 501), fix(10, 50), None, False, "inexact"),
        (fix(11, 0, 500), fix(10, 50), None, False, "moved"),
        (fix(11, 9.9), fix(10, 0), CENTRE, False, "unmoved"),
        (fix(11, 10.1), fix(10, 0), CENTRE, False, "moved"),
        (fix(11, 9.9), fix(10, 0), CENTRE, True, "moved"),
        (fix(9, 9.9), fix(10, 0), CENTRE, False, "stale"),
    ],
)
def test_effect_of_a_fix(new: Fix, last: Fix | None, matched: GeoPoint | None, effect: str, *, leaving: bool) -> None:
    assert effect_of(new, last=last, matched=matched, is_leaving=leaving) == effect
