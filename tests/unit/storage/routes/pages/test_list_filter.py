import pytest

from services.storage.core.fields import InvalidInput
from services.storage.core.filters import ListFilter, Page
from services.storage.routes.pages.list_filter import ListRequest


def asked(**parameters: str) -> ListRequest:
    return ListRequest.of({name: [value] for name, value in parameters.items()})


def test_parameters_without_a_value_are_ignored() -> None:
    request = asked(keywords=" ", owner="", is_active="", valid="", page="")
    assert request.parse() == (ListFilter(), Page())
    assert (request.is_filtered, request.query()) == (False, "?")


def test_keywords_are_separated_by_commas_or_repeated() -> None:
    request = ListRequest.of({"keywords": ["Bike, chair"], "keywords[]": ["Sofa", "bike"]})
    wanted, _ = request.parse()
    assert wanted.keys == ("sofa", "bike", "chair")
    assert request.values["keywords"] == "Sofa, bike, Bike, chair"


def test_query_keeps_the_filter_and_begins_on_the_first_page() -> None:
    request = asked(owner="a&b", page="3", limit="7")
    assert request.query(valid="any") == "?owner=a%26b&limit=7&valid=any"
    assert request.query(owner=None) == "?limit=7"
    assert request.rows_before(request.parse()[1]) == 21


def test_box_of_the_address_is_shown_and_can_be_removed() -> None:
    box = {"sw[latitude]": "1", "sw[longitude]": "2", "ne[latitude]": "3", "ne[longitude]": "4"}
    request = ListRequest.of({name: [value] for name, value in {**box, "not_owner": "x"}.items()})
    assert request.kept == {"not_owner": "x", **box}
    names = [(name, value) for name, value, _ in request.more]
    assert names == [("without the owner", "x"), ("in the box", "1, 2 to 3, 4")]
    assert [query for _, _, query in request.more][1] == "?not_owner=x"


@pytest.mark.parametrize(
    ("parameters", "field"), [({"radius": "5"}, "center[latitude]"), ({"valid": "x"}, "valid"), ({"with": "x"}, "with")]
)
def test_wrong_parameter_is_named(parameters: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        asked(**parameters).parse()
    assert [error.field for error in raised.value.errors] == [field]
