import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.imageserver.core.listing import AssetCursor, AssetQuery, InvalidListRequest, parse_query

ID = "ab" * 32


def test_without_parameters_all_assets_are_listed() -> None:
    assert parse_query({}) == parse_query({"q": " ", "date": "", "after": "", "per_page": ""}) == AssetQuery()


@pytest.mark.parametrize(
    ("text", "name", "is_prefix"),
    [
        (ID, ID, False),
        (ID.upper(), ID, False),
        ("4711", "4711", False),
        ("abcdef", "abcdef", True),
        ("482913", "482913", True),
        ("9" * 64, "9" * 64, False),
        (f"/assets/images/{ID}/thumb", ID, False),
    ],
)
def test_text_is_a_name_or_the_begin_of_one(text: str, name: str, *, is_prefix: bool) -> None:
    query = parse_query({"q": text})
    assert (query.name, query.is_prefix) == (name, is_prefix)


def test_date_is_a_day_in_utc() -> None:
    query = parse_query({"date": "2026-11-23"})
    assert (query.from_ms, query.until_ms) == (1_795_392_000_000, 1_795_478_400_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"q": "abc"},
        {"q": "hello world"},
        {"date": "23.11.2026"},
        {"date": "9999-12-31"},
        {"after": "1"},
        {"after": f"x.{ID}"},
        {"per_page": "0"},
        {"per_page": "101"},
        {"per_page": "-1"},
        {"per_page": "٣"},
    ],
)
def test_wrong_parameter_is_refused_with_its_value(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidListRequest, match=next(iter(wrong.values()))):
        parse_query(wrong)


@given(st.integers(0, 10**15), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_cursor_returns_from_its_text(created_ms: int, asset_id: str) -> None:
    cursor = AssetCursor(created_ms, asset_id)
    assert parse_query({"after": str(cursor)}).after == cursor
