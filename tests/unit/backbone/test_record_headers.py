import pytest

from services.backbone.record_headers import RecordHeaders, header_value


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ((), b""),
        ((("id", None),), b""),
        ((("id", b""), ("id", None), ("id", b"1"), ("id", b"2")), b"1"),
        ((("ID", b"1"), ("di", b"2")), b""),
    ],
)
def test_header_value_is_the_first_that_is_neither_null_nor_empty(headers: RecordHeaders, value: bytes) -> None:
    assert header_value(headers, "id") == value
