import msgspec
import pytest

from services.storage.core.matching import MatchSide, decide
from services.storage.core.sphere import GeoPoint
from services.storage.routes.pages.reasons import conditions

OFFER = MatchSide("o", "ann", GeoPoint(0, 0), 500, ("x", "y"))
SEARCH = MatchSide("s", "bob", GeoPoint(0, 0.001), 400, ("x",))
NOW_MS = 1_000_000


def texts(offer: MatchSide, search: MatchSide, *, is_met: bool) -> list[str]:
    found = conditions(offer, search, decide(offer, search, NOW_MS))
    return [condition.text for condition in found if condition.is_met == is_met]


def with_(side: MatchSide, **changes: object) -> MatchSide:
    return msgspec.structs.replace(side, **changes)


def test_match_meets_eight_conditions() -> None:
    assert texts(OFFER, SEARCH, is_met=False) == []
    assert texts(OFFER, SEARCH, is_met=True) == [
        "The distance of 111.3 m is within the radius of the offer, 500.0 m.",
        "The distance of 111.3 m is within the radius of the search, 400.0 m.",
        "They share 1 keyword: “x”.",
        "The owners differ: ann and bob.",
        "The offer is active.",
        "The search is active.",
        "The offer is valid and has no end.",
        "The search is valid and has no end.",
    ]


@pytest.mark.parametrize(
    ("offer", "search", "expected"),
    [
        ({"radius_m": 100}, {}, "The distance of 111.3 m exceeds the radius of the offer, 100.0 m, by 11.3 m."),
        ({}, {"radius_m": 0}, "The distance of 111.3 m exceeds the radius of the search, 0.0 m, by 111.3 m."),
        (
            {},
            {"radius_m": 111.31},
            "The distance of 111.3 m exceeds the radius of the search, 111.3 m, by less than 0.1 m.",
        ),
        ({}, {"keys": ("z",)}, "They share no keyword: the offer has “x”, “y”, and the search has “z”."),
        ({"keys": ()}, {}, "They share no keyword: the offer has no keyword, and the search has “x”."),
        ({}, {"owner": "ann"}, "Both have the same owner, ann."),
        ({"is_active": False}, {}, "The offer is inactive."),
        ({}, {"is_active": False}, "The search is inactive."),
        (
            {"valid_until_ms": NOW_MS},
            {},
            "The offer has expired: it was valid until 1970-01-01 00:16:40.000 UTC.",
        ),
        (
            {},
            {"valid_from_ms": NOW_MS + 1},
            "The search is not valid yet: it becomes valid at 1970-01-01 00:16:40.001 UTC.",
        ),
    ],
)
def test_each_reason_of_the_rule_is_one_condition_that_is_not_met(
    offer: dict[str, object], search: dict[str, object], expected: str
) -> None:
    pair = with_(OFFER, **offer), with_(SEARCH, **search)
    assert texts(*pair, is_met=False) == [expected]
    assert len(texts(*pair, is_met=True)) == 7


def test_long_list_of_keys_is_cut() -> None:
    many = tuple(f"k{number}" for number in range(11))
    (text,) = texts(with_(OFFER, keys=many), with_(SEARCH, keys=("z",)), is_met=False)
    assert "“k7” and 3 more, and the search has “z”." in text
