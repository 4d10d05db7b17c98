import datetime as dt
import time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.offerserver.core.values import (
    InvalidRow,
    Rejection,
    at_path,
    collect,
    hashtag,
    id_text,
    number,
    plain_text,
    shown,
    time_ms,
    visible_text,
)

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("  two\n lines\t", "two lines"),
        ("<b>Caf&eacute;</b> &amp; more", "Café & more"),
        ("one<br>two<p>three", "one two three"),
        ("<script>alert(1)</script>Title", "Title"),
        ("&lt;b&gt;", "<b>"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ('<img alt="a > b" src=x>after', "after"),
        ("<a title=it's>link</a>", "link"),
        ("a<!-- <b>no</b> -->b<!---->c<!-->d", "abcd"),
        ("<STYLE type='a'>b{}</STYLE >Title<script>if (a<b) '</p>'", "Title"),
        ("<!DOCTYPE html><?php?>Title</p", "Title</p"),
        ("I <3 you, <b", "I <3 you, <b"),
        ("one<BR/>two</P >three", "one two three"),
        ("a\x00b", "a b"),
        (12, "12"),
        (None, ""),
        ("half \ud800 of a pair", "half ? of a pair"),
    ],
)
def test_text_has_no_markup_and_no_repeated_whitespace(value: object, text: str) -> None:
    assert plain_text(value, "text") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\u200b", ""),
        ("\u200d \u200c", ""),
        ("a\u202eb\u2066c\ufeff", "abc"),
        ("\x1b[31mred\x07", "[31mred"),
        ("a\x85b\u2028c\xa0d", "a b c d"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
    ],
)
def test_control_and_format_characters_are_removed(value: str, text: str) -> None:
    assert visible_text(value) == plain_text(value, "text") == shown(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<abc@example.org>", "<abc@example.org>"),
        ("a<b>", "a<b>"),
        ("x&amp;y", "x&amp;y"),
        (" a \x00 b", "a b"),
        (1, "1"),
        (1.0, "1"),
        (1.5, "1.5"),
        (-3e5, "-300000"),
        (None, ""),
    ],
)
def test_id_keeps_its_markup_and_whole_numbers_have_one_form(value: object, text: str) -> None:
    assert id_text(value, "id") == text


@pytest.mark.parametrize("value", [["list"], {"a": 1}, True, "x" * 20_001])
def test_id_of_another_type_or_length_is_rejected(value: object) -> None:
    with pytest.raises(InvalidRow, match=r"^id: "):
        id_text(value, "id")


@pytest.mark.parametrize("value", [["list"], {"a": 1}, True, "x" * 20_001])
def test_text_of_another_type_or_length_is_rejected(value: object) -> None:
    with pytest.raises(InvalidRow, match=r"^text: "):
        plain_text(value, "text")


@pytest.mark.parametrize(
    "part",
    [
        "<a ",
        "<a b='",
        '<a b="<a ',
        "<!--",
        "<!-- -",
        "<script",
        "<script>",
        "</script",
        "<![CDATA[",
        "<!",
        "<?",
        "&",
        "&#",
    ],
)
def test_markup_is_removed_in_linear_time(part: str) -> None:
    began = time.monotonic()
    for end in ("", ">", "'>", "-->", "</script>"):
        plain_text((part * 20_000)[: 20_000 - len(end)] + end, "text")
    assert time.monotonic() - began < 1


@given(st.text(max_size=200))
def test_text_without_markup_is_stable(value: str) -> None:
    once = plain_text(value, "text")
    assert once == " ".join(once.split())


@pytest.mark.parametrize(
    ("value", "expected"), [(52.5, 52.5), ("52.5", 52.5), (" -0.25 ", -0.25), ("+7", 7.0), (3, 3.0)]
)
def test_number_is_read_from_its_decimal_form(value: object, expected: float) -> None:
    assert number(value, "latitude") == expected


def test_number_has_a_comma_only_where_that_is_allowed() -> None:
    assert number("52,5", "latitude", decimal_comma=True) == 52.5
    assert number("52.5", "latitude", decimal_comma=True) == 52.5
    with pytest.raises(InvalidRow, match="is not a decimal number"):
        number("52,5", "latitude")


@pytest.mark.parametrize(
    "value",
    [None, "", "NaN", "Infinity", float("nan"), float("inf"), True, "1e3", "0x10", "52.5.1", "1_0", "٥٢", [52.5]],
)
def test_other_values_are_no_numbers(value: object) -> None:
    with pytest.raises(InvalidRow, match=r"^latitude: "):
        number(value, "latitude", decimal_comma=True)


def test_time_without_an_offset_is_one_of_the_zone() -> None:
    local = dt.datetime(2026, 7, 1, 12, tzinfo=BERLIN)
    assert time_ms("2026-07-01T12:00:00", "begin", zone=BERLIN) == 1000 * local.timestamp()
    assert time_ms("2026-07-01T10:00:00Z", "begin", zone=BERLIN) == 1000 * local.timestamp()
    midnight = dt.datetime(2026, 7, 1, tzinfo=BERLIN)
    assert time_ms("2026-07-01", "begin", zone=BERLIN) == 1000 * midnight.timestamp()


@pytest.mark.parametrize(
    ("value", "end"),
    [
        ("2026-10-24", "2026-10-25T00:00:00+02:00"),
        ("20261025", "2026-10-26T00:00:00+01:00"),  # 25 hours long
        ("2026-10-25T00:00", "2026-10-25T00:00:00+02:00"),
        ("9999-12-31", "9999-12-31T00:00:00+01:00"),
    ],
)
def test_end_without_a_time_is_that_of_its_day(value: str, end: str) -> None:
    assert time_ms(value, "end", zone=BERLIN, is_end=True) == 1000 * dt.datetime.fromisoformat(end).timestamp()


@pytest.mark.parametrize("value", ["soon", "", None, 5, "2026-13-01"])
def test_other_values_are_no_times(value: object) -> None:
    with pytest.raises(InvalidRow, match=r"^begin: "):
        time_ms(value, "begin", zone=BERLIN)


def test_path_leads_through_objects_and_lists() -> None:
    value = {"a": [{"b": "found"}]}
    assert at_path(value, "a.0.b") == "found"
    assert [at_path(value, path) for path in ("a.1.b", "a.b", "b", "a.0.b.c", "a.-1")] == [None] * 5


def test_hashtag_has_no_punctuation() -> None:
    assert [hashtag(word) for word in ("Café Nord!", "24h", "--")] == ["#cafénord", "#24h", ""]


def test_one_bad_row_is_listed_and_the_others_are_kept() -> None:
    def make(row: int) -> int | None:
        if row == 2:
            raise InvalidRow("text", "x" * 500, "is too long")
        return row if row != 3 else None

    made, rejections = collect([1, 2, 3, 4], make, str)
    assert made == [1, 4]
    assert rejections == [Rejection("2", "text", "x" * 79 + "…", "is too long")]


@pytest.mark.parametrize(
    ("value", "expected"), [("a\nb", "a b"), (1.5, "1.5"), (None, ""), ([1] * 9, "(list)"), ("y" * 80, "y" * 80)]
)
def test_value_is_shown_on_one_short_line(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_rejected_row_without_an_id_has_its_number() -> None:
    def make(row: int) -> int:
        if row > 1:
            raise InvalidRow("Laenge", None, "is missing")
        return row

    _, rejections = collect([1, 2], make, lambda _: "")
    assert rejections == [Rejection("(row 2)", "Laenge", "", "is missing")]
