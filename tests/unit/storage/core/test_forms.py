import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.fields import InvalidInput
from services.storage.core.forms import parse_form

NAMES = st.text(alphabet="ab01[]$.\x00", max_size=12)


def test_brackets_are_objects_and_lists() -> None:
    pairs = [
        ("owner", "ann"),
        ("keywords[]", "a"),
        ("keywords[]", "b"),
        ("location[type]", "Point"),
        ("location[coordinates][1]", "52.5"),
        ("location[coordinates][0]", "13.4"),
        ("extdata[link][url]", "x"),
    ]
    assert parse_form(pairs) == {
        "owner": "ann",
        "keywords": ["a", "b"],
        "location": {"type": "Point", "coordinates": ["13.4", "52.5"]},
        "extdata": {"link": {"url": "x"}},
    }


def test_empty_list_of_rails_has_one_empty_element() -> None:
    assert parse_form([("keywords[]", "")]) == {"keywords": [""]}


@pytest.mark.parametrize("pairs", [[("a", "1"), ("a[b]", "2")], [("a[b]", "2"), ("a", "1")]])
def test_name_that_is_a_value_and_a_group_is_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidInput, match="value and as a group"):
        parse_form(pairs)


@given(st.lists(st.tuples(NAMES, st.text(max_size=3)), max_size=8))
def test_any_names_are_values_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        found = parse_form(pairs)
    except InvalidInput:
        return
    assert all(isinstance(each, str | dict | list) for each in found.values())


def test_deep_names_are_plain_names() -> None:
    name = "a" + "[b]" * 1000
    assert parse_form([(name, "1")]) == {name: "1"}
