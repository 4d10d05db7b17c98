"""Walks with noise: the number of encounters, on the rules alone. api/test_geo_walks.py takes some by the API."""

import random
from collections.abc import Sequence

import pytest

from services.storage.core.movement import KEPT_FIXES, Fix, leave_margin_m
from services.storage.core.sphere import distance_m
from tests.contract.storage.storing import BERLIN
from tests.contract.storage.walking import BEGIN_MS, EDGE, NOISE_M, OUT_AND_BACK, PAST, RADIUS_M, Walker, at, noisy

SEEDS = pytest.mark.parametrize(
    "seeds",
    [
        range(20),
        pytest.param(range(20, 300), marks=pytest.mark.slow),
        pytest.param(range(300, 1000), marks=pytest.mark.endurance),
    ],
    ids=["20 seeds", "280 seeds", "700 seeds"],
)


def walk(generator: random.Random, fixes: Sequence[Fix]) -> Walker:
    """Take the fixes, and match after each of them or after some, as a busy matcher does."""
    walker = Walker()
    unmatched = 0
    for fix in fixes:
        walker.take(fix)
        unmatched += 1
        if unmatched == KEPT_FIXES or generator.random() < 0.6:
            walker.match(fix.at_ms + 1000)
            unmatched = 0
    walker.match(max(fix.at_ms for fix in fixes) + 2000)
    return walker


@SEEDS
def test_walk_past_an_offer_is_one_encounter_that_begins_at_the_edge(seeds: range) -> None:
    for seed in seeds:
        generator = random.Random(seed)
        walker = walk(generator, noisy(generator, *PAST))
        assert walker.encounters == 1, seed
        assert not walker.is_in, seed
        # Some fixes may pass before the first matching: 8 of them are 112 m.
        assert RADIUS_M - 112.0 - 6 * NOISE_M < walker.entered_m[0] <= RADIUS_M, seed


@SEEDS
def test_hour_on_the_edge_is_one_encounter(seeds: range) -> None:
    for seed in seeds:
        generator = random.Random(seed)
        walker = walk(generator, noisy(generator, *EDGE))
        assert (walker.encounters, walker.is_in) == (1, True), seed


@SEEDS
def test_five_minutes_outside_and_back_are_two_encounters(seeds: range) -> None:
    for seed in seeds:
        generator = random.Random(seed)
        walker = walk(generator, noisy(generator, *OUT_AND_BACK))
        assert (walker.encounters, walker.is_in) == (2, True), seed


@SEEDS
def test_fixes_in_random_order_end_at_the_newest(seeds: range) -> None:
    for seed in seeds:
        generator = random.Random(seed)
        # 84 m between two fixes: each one has moved.
        fixes = noisy(generator, *PAST)[::6][: generator.randrange(1, 23)]
        newest = fixes[-1]
        generator.shuffle(fixes)
        walker = walk(generator, fixes)
        assert walker.device.fix == newest, seed
        assert walker.device.fields.location == newest.location, seed
        if distance_m(newest.location, BERLIN) <= RADIUS_M:
            assert walker.is_in, seed
        elif walker.is_in and distance_m(newest.location, BERLIN) > RADIUS_M + leave_margin_m(RADIUS_M, NOISE_M):
            # Two fixes outside are needed, and the order may have made the other one stale.
            assert walker.pair is not None
            assert walker.pair.is_leaving, seed


def test_late_fix_moves_a_device_at_rest_until_its_next_fix() -> None:
    """A fix of a device at rest is not stored, because it costs one read. So a late fix before it is not stale."""
    walker = Walker()
    rest, late, next_rest = (
        Fix(BEGIN_MS + 1000 * second, at(east), 5.0) for second, east in ((30, 3), (20, 900), (40, 3))
    )
    for fix in (Fix(BEGIN_MS, at(0.0), 5.0), rest, late):
        walker.take(fix)
        walker.match(fix.at_ms + 1000)
    assert walker.device.fields.location == late.location
    walker.take(next_rest)
    assert walker.device.fields.location == next_rest.location
