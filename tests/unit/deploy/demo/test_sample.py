from itertools import pairwise

import pytest

from deploy.demo.matching_check import STOPS_M
from deploy.demo.sample import Pair, Point, SampleObject, read_sample
from services.backbone.pages.gazetteer import distance_m
from services.storage.core.fields import parse_fields
from services.storage.core.keys import normalise_keywords
from services.storage.core.matching import Match, MatchSide, decide
from services.storage.core.sphere import GeoPoint

SAMPLE = read_sample()
STEP_M = 50.0
LONGEST_PATH_M = 6_000.0


def side_of(found: SampleObject, travelled_m: float) -> MatchSide:
    latitude, longitude = found.location(travelled_m)
    keys = normalise_keywords(found.keywords)
    return MatchSide(found.owner, found.owner, GeoPoint(longitude, latitude), found.radius_m, keys)


def test_owners_are_unique() -> None:
    owners = [found.owner for found in SAMPLE.objects]
    assert len(set(owners)) == len(owners)


def test_storage_accepts_the_objects_as_they_are_written() -> None:
    for found in SAMPLE.objects:
        fields = parse_fields(found.document(), may_set_trusted=True)
        assert (fields.location.lat, fields.location.lng) == found.path[0]
        assert (fields.owner, fields.radius_m, fields.is_mobile) == (found.owner, found.radius_m, found.is_mobile)


def test_pairs_are_those_of_the_rule_of_storage() -> None:
    for travelled_m in (step * STEP_M for step in range(int(LONGEST_PATH_M / STEP_M))):
        decided = {
            Pair(search.owner, offer.owner)
            for offer in SAMPLE.offers
            for search in SAMPLE.searches
            if isinstance(decide(side_of(offer, travelled_m), side_of(search, travelled_m), 0), Match)
        }
        assert SAMPLE.pairs(travelled_m) == decided


def test_no_pair_is_near_an_edge_where_the_check_stops() -> None:
    for travelled_m in (0.0, *STOPS_M):
        for offer in SAMPLE.offers:
            for search in SAMPLE.searches:
                away_m = distance_m(*offer.location(travelled_m), *search.location(travelled_m))
                assert abs(away_m - min(offer.radius_m, search.radius_m)) > 1.0


def test_something_matches_at_once_and_each_moving_object_matches_on_its_way() -> None:
    assert SAMPLE.pairs()
    met = {
        name for step in range(int(LONGEST_PATH_M / STEP_M)) for pair in SAMPLE.pairs(step * STEP_M) for name in pair
    }
    assert met >= {found.owner for found in SAMPLE.mobile}


@pytest.mark.parametrize("found", SAMPLE.mobile, ids=lambda found: found.owner)
def test_a_moving_object_follows_its_path_without_jumps(found: SampleObject) -> None:
    closed = (*found.path, found.path[0])
    length_m = sum(distance_m(*start, *end) for start, end in pairwise(closed))
    assert length_m <= LONGEST_PATH_M
    assert found.location(0.0) == found.path[0]
    assert distance_m(*found.location(length_m), *found.path[0]) < 0.01
    assert distance_m(*found.location(length_m + STEP_M), *found.location(STEP_M)) < 0.01
    steps = [found.location(step * STEP_M) for step in range(int(length_m / STEP_M))]
    assert all(distance_m(*before, *after) < STEP_M * 1.01 for before, after in pairwise(steps))


def test_an_object_at_rest_does_not_move() -> None:
    found = SampleObject("offers", "here", "", ("tea",), 100.0, (Point(52.5, 13.4),))
    assert found.location(1_000.0) == Point(52.5, 13.4)
