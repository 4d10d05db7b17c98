import math
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.extras import MAX_DEPTH, InvalidValue, read_extras, store_extras

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["$ref", "a.b", "%24", "\0", "%"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_json_object_survives_the_database(value: dict[str, Any]) -> None:
    stored = store_extras(value)
    assert read_extras(bson.decode(bson.encode(stored))) == value


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_stored_keys_have_no_meaning_for_the_database(value: dict[str, Any]) -> None:
    def keys(stored: Any) -> list[str]:
        if isinstance(stored, dict):
            return [*stored, *(key for each in stored.values() for key in keys(each))]
        return [key for each in stored for key in keys(each)] if isinstance(stored, list) else []

    assert not any(set(key) & set("$.\0") for key in keys(store_extras(value)))


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    "value",
    [
        {"a": 2**63},
        {"a": math.nan},
        {"a": [math.inf]},
        {"a": "\ud800"},
        {"\ud800": 1},
        {"a": b""},
        nested(MAX_DEPTH + 1),
    ],
)
def test_value_that_the_database_cannot_hold_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        store_extras(value)


def test_deepest_nesting_is_stored() -> None:
    assert store_extras(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
