import math
from typing import Any

import pytest

from services.offerserver.core.drafts import Draft, Parsed, checked, merged
from services.offerserver.core.values import Rejection
from tests.unit.offerserver.importing import BERLIN, draft, parsed


def check(*found: Draft, **changes: Any) -> Parsed:
    return checked(parsed(*found, **changes), box=BERLIN, base_keywords=2)


def test_good_draft_is_kept_as_it_is() -> None:
    assert check(draft(1), draft(2)) == parsed(draft(1), draft(2))


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"latitude": math.nan}, "location", "is not a pair of finite numbers"),
        ({"longitude": math.inf}, "location", "is not a pair of finite numbers"),
        ({"latitude": 0.0, "longitude": 0.0}, "location", "is 0/0, which stands for no location"),
        ({"latitude": 91.0}, "location", "is not on earth"),
        ({"latitude": 48.1, "longitude": 11.6}, "location", "is outside of the area of the importer"),
        (
            {"latitude": 13.4, "longitude": 52.5},
            "location",
            "is outside of the area of the importer; latitude and longitude are probably exchanged",
        ),
        ({"text": "x" * 501}, "text", "has 501 characters; at most 500 are allowed"),
        ({"text": "  "}, "text", "is empty"),
        ({"text": "\u200b\u202e"}, "text", "is empty"),
        ({"id": "\u200b"}, "id", "is empty"),
        ({"id": ""}, "id", "is empty"),
        ({"id": "x" * 501}, "id", "has 501 characters; at most 500 are allowed"),
        ({"radius_m": 100_001}, "radius", "must be from 0 to 100000 m"),
        ({"valid_from_ms": 2, "valid_until_ms": 1}, "validity", "ends before it begins"),
        ({"keywords": tuple(f"#{n}" for n in range(31))}, "keywords", "are more than 32 with those of all"),
        ({"keywords": ("#" + "x" * 64,)}, "keywords", "has 65 characters; at most 64 are allowed"),
        ({"extdata": {"long": "x" * 20_000}}, "extdata", "has 20011 bytes as JSON; at most 16384 are allowed"),
    ],
)
def test_draft_out_of_bounds_is_rejected_with_its_reason(changes: dict[str, Any], field: str, reason: str) -> None:
    found = check(draft(1), draft(2, **changes))
    assert found.drafts == (draft(1),)
    assert [(each.field, each.reason) for each in found.rejections] == [(field, reason)]


def test_title_loses_what_is_not_seen() -> None:
    assert [each.text for each in check(draft(1, text="\x1b[2mA \u202eplace")).drafts] == ["[2mA place"]


def test_nested_extdata_is_rejected() -> None:
    nested: dict[str, Any] = {}
    for _ in range(5_000):
        nested = {"a": nested}
    (found,) = check(draft(1, extdata=nested)).rejections
    assert (found.field, found.reason) == ("extdata", "is nested deeper than 10 levels")


def test_source_without_a_box_takes_the_whole_earth() -> None:
    far = draft(1, latitude=-33.9, longitude=151.2)
    assert checked(parsed(far), box=None, base_keywords=2).drafts == (far,)


def test_last_of_two_drafts_with_one_id_stays_and_is_listed() -> None:
    first, last = draft(1, text="first"), draft(1, text="last")
    found = check(first, draft(2), last)
    assert found.drafts == (last, draft(2))
    assert found.rejections == ()
    assert found.remarks == (Rejection("id-1", "id", "last", "occurs twice: the last one is used"),)


def test_removed_id_has_no_draft() -> None:
    assert check(draft(1), draft(2), removed=frozenset({"id-1"})).drafts == (draft(2),)


def test_only_links_to_images_are_kept() -> None:
    urls = ("https://example.org/a.jpg", "javascript:alert(1)", "https://example.org/a.jpg", "a.png", "http://[bad")
    assert check(draft(1, image_urls=urls)).drafts[0].image_urls == ("https://example.org/a.jpg",)


def test_documents_of_one_run_are_merged() -> None:
    row = Rejection("1", "text", "", "is empty")
    one = parsed(draft(1), rejections=(row,), removed=frozenset({"a"}), partial=("it is cut",))
    other = parsed(draft(2), remarks=(row,), removed=frozenset({"b"}), partial=("it is cut", "it has a remark"))
    assert merged([one, other]) == parsed(
        draft(1),
        draft(2),
        rejections=(row,),
        remarks=(row,),
        removed=frozenset({"a", "b"}),
        partial=("it is cut", "it has a remark"),
    )
