import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.dead_letters import (
    DeadLetter,
    dead_letter_digest,
    decode_dead_letter,
    encode_dead_letter,
    is_truncated,
)
from services.backbone.events import Record

TEXT = st.text(st.characters(codec="utf-8"))
NUMBER = st.none() | st.integers(0, 8_640_000_000_000_000)
DEAD_LETTERS = st.builds(DeadLetter, payload=st.binary(), stage=TEXT, reason=TEXT, time_ms=NUMBER, attempt=NUMBER)
HEADERS = st.lists(st.tuples(st.sampled_from(["reason", "stage", "time", "attempt", "x"]), st.none() | st.binary()))

SAMPLE = DeadLetter(b"\x01entry", "decode", "malformed entry: é", 1_764_000_000_120, 3)


def test_dead_letter_is_encoded_as_the_golden_sample() -> None:
    assert encode_dead_letter(SAMPLE) == Record(
        b"\x01entry",
        None,
        (
            ("reason", b"malformed entry: \xc3\xa9"),
            ("stage", b"decode"),
            ("time", b"1764000000120"),
            ("attempt", b"3"),
        ),
        1_764_000_000_120,
    )


@given(DEAD_LETTERS)
def test_decoded_letter_equals_the_encoded_one(letter: DeadLetter) -> None:
    record = encode_dead_letter(letter)
    assert decode_dead_letter(record.value, record.headers) == letter


@given(st.none() | st.binary(), HEADERS)
def test_any_record_can_be_decoded(value: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    letter = decode_dead_letter(value, headers)
    assert letter.payload == (value or b"")
    for number in (letter.time_ms, letter.attempt):
        assert number is None or 0 <= number < 2**53


@pytest.mark.parametrize("digits", [b"", b"-1", b"1_0", b" 1", b"9" * 16, b"8640000000000001", b"\xd9\xa1"])
def test_invalid_number_counts_as_missing(digits: bytes) -> None:
    assert decode_dead_letter(b"", [("time", digits), ("attempt", digits)])[3:] == (None, None)


def test_lone_surrogate_in_a_reason_is_replaced() -> None:
    record = encode_dead_letter(SAMPLE._replace(reason="unknown \ud800"))
    assert dict(record.headers)["reason"] == b"unknown ?"


def test_truncated_letter_keeps_its_first_bytes_and_the_original_size() -> None:
    letter = SAMPLE._replace(payload=b"x" * 100).truncate(10)
    assert letter.payload == b"x" * 10
    assert letter.reason == "malformed entry: é (cut from 100 bytes)"
    assert letter.is_truncated
    assert not SAMPLE.is_truncated
    assert not is_truncated("(cut from 1 bytes) is what somebody sent")


@given(DEAD_LETTERS, DEAD_LETTERS)
def test_digest_depends_on_payload_and_time_only(one: DeadLetter, other: DeadLetter) -> None:
    digests = [dead_letter_digest(r.value, r.headers) for r in map(encode_dead_letter, (one, other))]
    assert (digests[0] == digests[1]) is ((one.payload, one.time_ms) == (other.payload, other.time_ms))


def test_null_header_counts_as_missing() -> None:
    headers = [("stage", None), ("reason", None), ("time", None), ("attempt", None)]
    assert decode_dead_letter(None, headers) == DeadLetter(b"", "", "", None, None)
    assert dead_letter_digest(b"x", headers) == dead_letter_digest(b"x", [])
