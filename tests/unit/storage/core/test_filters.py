import pytest

from services.storage.core.cursors import Cursor, encode_cursor
from services.storage.core.fields import InvalidInput
from services.storage.core.filters import MAX_LIST, Circle, GeoBox, ListFilter, Page, parse_filter, parse_id, parse_page
from services.storage.core.sphere import GeoPoint

CENTRE = {"center[latitude]": ["52.5"], "center[longitude]": ["13.4"], "radius": ["500"]}
CORNERS = {"sw[latitude]": ["1"], "sw[longitude]": ["170"], "ne[latitude]": ["2"], "ne[longitude]": ["-170"]}


def test_no_parameters_filter_by_validity_alone() -> None:
    assert parse_filter({}) == ListFilter()
    assert parse_filter({"keywords[]": [""], "owner": [""]}) == ListFilter()


def test_not_owner_wins_over_owner() -> None:
    assert parse_filter({"owner": ["a"], "not_owner": ["b"]}) == ListFilter(not_owner="b")


def test_circle_wins_over_box_and_a_box_may_cross_the_antimeridian() -> None:
    assert parse_filter(CENTRE | CORNERS).region == Circle(GeoPoint(13.4, 52.5), 500.0)
    assert parse_filter(CORNERS).region == GeoBox(GeoPoint(170.0, 1.0), GeoPoint(-170.0, 2.0))


@pytest.mark.parametrize("name", ["keywords[]", "keywords", "keywords[0]", "keywords[12]"])
def test_keywords_are_normalised_in_each_form(name: str) -> None:
    wanted = parse_filter({name: ["Café au lait"]})
    assert wanted.keys == ("cafe au lait",)
    assert wanted.words == ("cafe", "au", "lait")


def test_last_value_of_a_repeated_parameter_counts() -> None:
    assert parse_filter({"owner": ["a", "b"]}).owner == "b"


def test_everything_but_true_is_false() -> None:
    wanted = parse_filter({"is_active": ["1"], "trusted": ["true"]})
    assert (wanted.is_active, wanted.trusted) == (False, True)


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        (CENTRE | {"radius": [""]}, "radius"),
        (CENTRE | {"radius": ["-1"]}, "radius"),
        (CENTRE | {"center[latitude]": ["90.1"]}, "center[latitude]"),
        (CENTRE | {"center[longitude]": ["181"]}, "center[longitude]"),
        ({"sw[latitude]": ["1"], "sw[longitude]": ["1"]}, "ne"),
        ({"ne[latitude]": ["1"], "ne[longitude]": ["1"]}, "sw"),
        (CORNERS | {"ne[latitude]": ["0"]}, "sw[latitude]"),
        ({"_id": ["$ne"]}, "_id"),
        ({"owner": ["x" * 257]}, "owner"),
        ({"keywords[]": ["k" * 65]}, "keywords[]"),
    ],
)
def test_wrong_parameter_is_refused_under_its_name(parameters: dict[str, list[str]], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_filter(parameters)
    assert [each.field for each in error.value.errors] == [field]


def test_page_has_a_hard_limit() -> None:
    assert parse_page({}) == Page(MAX_LIST)
    assert parse_page({"limit": ["7"], "page": ["2"]}) == Page(7, 2)
    for parameters in ({"limit": ["201"]}, {"limit": ["0"]}, {"limit": ["1e1"]}, {"page": ["-1"]}, {"next": ["x"]}):
        with pytest.raises(InvalidInput):
            parse_page(parameters)


def test_cursor_cannot_be_combined_with_a_page_number() -> None:
    cursor = Cursor(1, "bread", "0" * 24)
    encoded = encode_cursor(cursor)
    assert parse_page({"next": [encoded]}) == Page(MAX_LIST, 0, cursor)
    with pytest.raises(InvalidInput, match="cannot be combined"):
        parse_page({"next": [encoded], "page": ["1"]})


@pytest.mark.parametrize("text", ["", "0" * 23, "0" * 25, "g" * 24, "0" * 24 + "\n", "\uff10" * 24])
def test_other_text_than_24_hexadecimal_digits_is_no_id(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_id(text, "_id")


def test_id_is_lowercase() -> None:
    assert parse_id("ABCDEF012345678901234567", "_id") == "abcdef012345678901234567"
