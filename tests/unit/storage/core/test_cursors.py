import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.cursors import Cursor, encode_cursor, parse_cursor
from services.storage.core.extras import InvalidValue

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@given(st.builds(Cursor, rank=st.integers(0, 64), joined=TEXTS, object_id=TEXTS))
def test_cursor_survives_its_form(cursor: Cursor) -> None:
    encoded = encode_cursor(cursor)
    assert parse_cursor(encoded) == cursor
    assert encoded.isascii()
    assert not set(encoded) & set("=+/&?#")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        "é",
        "x" * 5000,
        *(
            base64.urlsafe_b64encode(content).decode().rstrip("=")
            for content in (
                b"[]",
                b'{"$ne":null}',
                b'["1","a","b"]',
                b'[-1,"a","b"]',
                b'[65,"a","b"]',
                b'[1,{"$gt":""},"b"]',
            )
        ),
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_cursor(text)
