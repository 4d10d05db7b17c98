import json
import sys

import pytest

from services.backbone import names
from services.backbone.events import Event, encode_event, readable_address
from services.kafidx.core.events import (
    NULL_VALUE,
    SHOWN_CHARS,
    WHOLE_PAIRS,
    LiveEvent,
    WholeRecord,
    printable,
    whole_event,
    whole_number,
    why_dead,
)


def row_of(value: bytes) -> dict[str, object]:
    row: dict[str, object] = json.loads(LiveEvent("events", 2, 9, 77, value).queued_row.row)
    return row


def test_row_holds_the_columns_of_the_list() -> None:
    event = Event("a b", "1", 1000, -3, address="20010db8" + "0" * 24, params="q=%3Cb%3E&p=%E2%80%AE")
    assert row_of(encode_event(event)) == {
        "t": "events", "p": 2, "o": 9, "ts": 1000, "klag": -3, "ip": "2001:db8::", "country": "XX",
        "device": "other", "type": "a b", "params": "q=<b>&p=\u202e",
    }  # fmt: skip


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"one two", b"a b c d", b"  "])
def test_row_of_an_invalid_record_holds_the_error(value: bytes) -> None:
    row = row_of(value)
    assert row["bad"]
    assert (row["type"], row["ts"], row["klag"]) == ("", 77, None)


@pytest.mark.parametrize(
    "meta", [b"x", b"ts=1_0&klag=x", b"ts=" + b"9" * 5000, b"ts=%31", b"=&=&&&", b"ts=99999999999999999"]
)
def test_row_has_no_value_for_malformed_meta(meta: bytes) -> None:
    row = row_of(b"view " + meta + b" -")
    assert (row["ts"], row["klag"], row["type"]) == (77, None, "view")


def test_row_is_bounded_and_marked_as_cut() -> None:
    row = row_of(b"t" * 5000 + b" ts=1 " + b"x" * 800_000)
    assert row["cut"]
    assert len(str(row["params"])) == SHOWN_CHARS
    assert (
        len(LiveEvent("events", 0, 0, 0, b"%F0%9F%98%80" * 9000 + b" ts=1 " + b"%F0%9F%98%80" * 9000).queued_row.row)
        < 4000
    )


def test_row_does_not_keep_the_record_in_memory() -> None:
    event = LiveEvent("events", 0, 0, 0, b"view ts=1 " + b"x" * 100_000)
    assert sys.getsizeof(event.queued_row.row) < 2000


def test_whole_event_holds_key_headers_meta_params_and_raw_value() -> None:
    value = encode_event(Event("view", "1", 1000, 3, address="cb007100", params="a=1&a=&b=%00"))
    whole = whole_event("events", 0, 1, WholeRecord(5, b"\xff", value, (("id", b"\xfe1"),)))
    assert (whole["key"], whole["headers"]) == ("\\xff", [["id", "\\xfe1"]])
    assert whole["params"] == [["a", "1"], ["a", ""], ["b", "\x00"]]
    assert ["ip", "203.0.113.0"] in whole["meta"]
    assert whole["raw"] == value.decode()
    bad = whole_event("events", 0, 1, WholeRecord(5, None, b"\xff", ()))
    assert (bad["raw"], bad["key"], bad["invalid"] is None) == ("\\xff", None, False)


def test_whole_event_decodes_the_first_1000_parameters_and_counts_the_others() -> None:
    value = encode_event(Event("view", "1", 1000, 3, address="cb007100", params="&".join(["a=1"] * 131_000)))
    whole = whole_event("events", 0, 1, WholeRecord(5, None, value, ()))
    assert (len(whole["params"]), whole["params_left_out"], whole["meta_left_out"]) == (1000, 130_000, 0)
    assert whole["raw"] == value.decode()
    exactly = whole_event("events", 0, 1, WholeRecord(5, None, b"view ts=1 " + b"&".join([b"a=1"] * 1000), ()))
    assert (len(exactly["params"]), exactly["params_left_out"]) == (1000, 0)


@pytest.mark.parametrize(
    ("digits", "number"),
    [(b"0", 0), (b"-5", -5), (b"8640000000000000", 8_640_000_000_000_000), (b"8640000000000001", None),
     ("²".encode(), None), (b"", None), (b"--1", None), (b" 1", None), (None, None)],
)  # fmt: skip
def test_whole_number_accepts_only_numbers_that_a_page_can_show_as_a_time(
    digits: bytes | None, number: int | None
) -> None:
    assert whole_number(digits) == number


def test_addresses_and_bytes_are_shown_in_readable_form() -> None:
    assert readable_address("cb007100") == "203.0.113.0"
    assert readable_address("zz007100") == "zz007100"
    assert readable_address("") == ""
    assert printable(b"\x80a") == "\\x80a"


def test_whole_event_shows_null_key_value_and_headers_as_none() -> None:
    whole = whole_event("events", 0, 1, WholeRecord(-5, None, None, (("a", None), ("a", b""), ("a", b"1"))))
    assert (whole["key"], whole["raw"], whole["invalid"], whole["time_ms"]) == (None, None, NULL_VALUE, -5)
    assert whole["headers"] == [["a", None], ["a", ""], ["a", "1"]]
    assert whole["headers_left_out"] == 0
    assert whole_event("events", 0, 1, WholeRecord(5, b"", b"", ()))["raw"] == ""


def test_whole_event_holds_the_first_1000_headers_and_counts_the_others() -> None:
    whole = whole_event("events", 0, 1, WholeRecord(5, None, b"", tuple(("h", None) for _ in range(5000))))
    assert (len(whole["headers"]), whole["headers_left_out"]) == (WHOLE_PAIRS, 4000)


def test_why_dead_skips_null_and_empty_headers() -> None:
    headers = ((names.HEADER_DEAD_STAGE, None), (names.HEADER_DEAD_STAGE, b"decode"), (names.HEADER_DEAD_REASON, b""))
    assert why_dead(headers) == "decode"
    assert why_dead(headers[:1]) == "no reason given"
    assert len(why_dead(((names.HEADER_DEAD_REASON, b"x" * 1_000_000),))) == SHOWN_CHARS
