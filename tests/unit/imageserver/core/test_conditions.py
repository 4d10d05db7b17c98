import pytest

from services.imageserver.core.conditions import ByteRange, UnsatisfiableRange, is_not_modified, parse_range

ETAG = '"abc.thumb.jpg"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        (ETAG, True),
        (f"W/{ETAG}", True),
        (f'"x" , {ETAG}', True),
        ("*", True),
        ('"x"', False),
        ("", False),
    ],
)
def test_known_entity_tag_is_not_modified(header: str | None, *, expected: bool) -> None:
    assert is_not_modified(header, ETAG) is expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9", ByteRange(0, 10)),
        ("bytes=90-", ByteRange(90, 100)),
        ("bytes=90-999", ByteRange(90, 100)),
        ("bytes=-1", ByteRange(99, 100)),
        ("bytes=-999", ByteRange(0, 100)),
        ("bytes=9-0", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        (None, None),
    ],
)
def test_range_of_a_hundred_bytes(header: str | None, expected: ByteRange | None) -> None:
    assert parse_range(header, None, etag=ETAG, size=100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_range_after_the_end_is_not_satisfiable(header: str) -> None:
    with pytest.raises(UnsatisfiableRange):
        parse_range(header, None, etag=ETAG, size=100)


@pytest.mark.parametrize("if_range", ['"x"', "Sat, 29 Oct 1994 19:43:31 GMT", f"W/{ETAG}"])
def test_other_state_gets_the_whole_body(if_range: str) -> None:
    assert parse_range("bytes=0-9", if_range, etag=ETAG, size=100) is None
    assert parse_range("bytes=0-9", ETAG, etag=ETAG, size=100) == ByteRange(0, 10)
