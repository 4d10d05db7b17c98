import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.fields import InvalidInput
from services.storage.core.objects import ObjectFields
from services.storage.core.sphere import GeoPoint
from services.storage.routes.pages.forms import changed_fields, form_of

STORED = ObjectFields(
    owner="ann",
    location=GeoPoint(13.4, 52.5),
    keywords=("a, b", "c"),
    text="two\r\nlines",
    valid_from_ms=1_000_123,
    trusted=True,
)


@given(
    st.builds(
        ObjectFields,
        owner=st.text(min_size=1, max_size=20),
        location=st.builds(GeoPoint, st.floats(-180, 180), st.floats(-90, 90)),
        keywords=st.lists(st.text(max_size=8), max_size=5).map(tuple),
        text=st.text(max_size=30),
        radius_m=st.floats(0, 100_000),
        valid_from_ms=st.none() | st.integers(0, 253_402_300_799_999),
        valid_until_ms=st.none() | st.integers(0, 253_402_300_799_999),
        is_mobile=st.booleans(),
        show_location=st.booleans(),
    )
)
def test_form_that_is_sent_back_changes_nothing(fields: ObjectFields) -> None:
    assert changed_fields(form_of(fields), fields) == fields


def test_field_that_is_not_sent_stays() -> None:
    assert changed_fields({"text": "new"}, STORED).keywords == ("a, b", "c")
    assert changed_fields({"radiusMeters": "7", "unknown": "x"}, STORED).trusted


def test_latitude_alone_moves_the_object() -> None:
    assert changed_fields(form_of(STORED) | {"latitude": "-0.5"}, STORED).location == GeoPoint(13.4, -0.5)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("2026-01-31T12:00", 1_769_860_800_000), ("2026-01-31T12:00:01", 1_769_860_801_000), ("", None), (" ", None)],
)
def test_time_is_utc_and_may_be_empty(typed: str, expected: int | None) -> None:
    assert changed_fields({"validfrom": typed}, STORED).valid_from_ms == expected


@pytest.mark.parametrize("typed", ["x", "2026-01-31T12:00+01:00", "1969-12-31T23:59", "2026-13-01T00:00"])
def test_wrong_time_is_named(typed: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        changed_fields({"validuntil": typed, "latitude": "x"}, STORED)
    assert [error.field for error in raised.value.errors] == ["validuntil", "latitude"]
