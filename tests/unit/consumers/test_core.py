from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.events import FINGERPRINT_BYTES, EncodedEvent, readable_address
from services.consumers.core import LABEL_MAX_CHARS, Counts, cut_label, fold, ids_at, whole_number
from services.consumers.handlers import HANDLERS

HEADER = (("v", b"1"), ("id", b"9"))


def by_type(event: EncodedEvent, counts: Counts, seen_at_ms: int) -> None:
    counts[f"{event.type.decode()} at {seen_at_ms}"] += 1


def test_invalid_records_are_counted_and_skipped() -> None:
    values = [b"a id=1 -", None, b"", b"one two", b"a b c d", b"b id=2 x=1", b"a x y"]
    folded = fold([(None, value, ()) for value in values], by_type, seen_at_ms=7)
    assert folded.counts == {"a at 7": 2, "b at 7": 1}
    assert (folded.events, folded.invalid, folded.duplicates) == (3, 4, 0)


def test_event_counts_once_when_a_batch_repeats_its_id() -> None:
    values = [(b"a id=1 -", HEADER), (b"a id=2 -", HEADER), (b"b id=1 -", ()), (b"b id=2 -", ()), (b"c ts=1 -", ())]
    records = [(b"key", *each) for each in values]
    folded = fold([*records, *records], by_type, seen_at_ms=7)
    # The first two share the id 9 in their headers. The next two have their ids in meta. The last has no id.
    assert folded.counts == {"a at 7": 1, "b at 7": 2, "c at 7": 2}
    assert (folded.events, folded.invalid, folded.duplicates) == (5, 0, 5)
    assert len(folded.ids) == 3 * FINGERPRINT_BYTES


def test_event_with_a_known_id_is_a_duplicate() -> None:
    records = [(b"key", b"a id=%d -" % number, ()) for number in range(5)]
    first = fold(records, by_type, seen_at_ms=7)
    known = ids_at(first.ids, [0, 3, 4])
    again = fold(records, by_type, seen_at_ms=7, known=known)
    assert (again.events, again.duplicates) == (2, 3)
    assert ids_at(again.ids, [0, 1]) == ids_at(first.ids, [1, 2])


def test_invalid_record_does_not_reserve_its_id() -> None:
    folded = fold(
        [(None, b"one two", HEADER), (None, b"one two", HEADER), (None, b"a id=1 -", HEADER)], by_type, seen_at_ms=7
    )
    assert (folded.events, folded.invalid, folded.duplicates) == (1, 2, 0)


@pytest.mark.parametrize("name", sorted(HANDLERS))
@given(fields=st.tuples(*[st.binary(min_size=1).filter(lambda field: b" " not in field)] * 3), junk=st.binary())
def test_handler_never_raises_for_any_record(name: str, fields: tuple[bytes, ...], junk: bytes) -> None:
    folded = fold([(None, b" ".join(fields), ()), (None, junk, ())], HANDLERS[name].count, seen_at_ms=1_700_000_000_000)
    assert folded.events >= 1
    assert folded.events + folded.invalid == 2
    assert all(len(label) <= LABEL_MAX_CHARS for label in folded.counts)


meta_fields = st.sampled_from([b"ts", b"klag", b"ip", b"pod", b"country"]).flatmap(
    lambda key: st.binary(max_size=40).map(lambda value: key + b"=" + value.replace(b" ", b"+").replace(b"&", b""))
)


@pytest.mark.parametrize("name", sorted(HANDLERS))
@given(meta=st.lists(meta_fields, min_size=1), params=st.binary(min_size=1).filter(lambda text: b" " not in text))
def test_handler_never_raises_for_any_value_in_meta_or_params(name: str, meta: list[bytes], params: bytes) -> None:
    record = (None, b"offr " + b"&".join(meta) + b" action=preview&text=" + params, ())
    assert fold([record], HANDLERS[name].count, seen_at_ms=0).events == 1


@given(st.text())
def test_label_is_truncated_to_its_limit(text: str) -> None:
    label = cut_label(text)
    assert len(label) <= LABEL_MAX_CHARS
    assert label == text or (len(text) > LABEL_MAX_CHARS and label.endswith("…"))


def hexadecimal(width: int) -> Callable[[int], str]:
    return lambda number: f"{number:0{width}x}"


@given(st.one_of(st.integers(0, 2**32 - 1).map(hexadecimal(8)), st.integers(0, 2**128 - 1).map(hexadecimal(32))))
def test_readable_address_is_the_address_of_its_digits(digits: str) -> None:
    address = ip_address(readable_address(digits))
    assert int(address) == int(digits, 16)
    assert address.version == (4 if len(digits) == 8 else 6)


@pytest.mark.parametrize("text", ["", "zzzzzzzz", "c0a80001ff", "+c0a8000", "unknown"])
def test_readable_address_keeps_text_that_is_no_address(text: str) -> None:
    assert readable_address(text) in {text, "12.10.128.0"}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"0", 0),
        (b"1700000000000", 1_700_000_000_000),
        (b"-12", -12),
        (None, None),
        (b"", None),
        (b"-", None),
        (b"1_0", None),
        (b"+5", None),
        (b" 5", None),
        (b"1.5", None),
        (b"9" * 5000, None),
        ("٣".encode(), None),
    ],
)
def test_whole_number_accepts_decimal_integers_only(text: bytes | None, number: int | None) -> None:
    assert whole_number(text) == number


def test_claimed_id_does_not_suppress_events_of_other_senders() -> None:
    claimed = [(b"stranger", b"claim id=order-%d&ts=1 -" % number, ()) for number in range(100)]
    known = ids_at(fold(claimed, by_type, seen_at_ms=7).ids, range(100))
    real = [(b"device", b"order id=order-%d&ts=2 -" % number, ()) for number in range(100)]
    opted_out = [(None, b"order id=order-%d&ts=3 -" % number, ()) for number in range(100)]
    folded = fold([*real, *opted_out, *real], by_type, seen_at_ms=7, known=known)
    assert (folded.events, folded.duplicates) == (200, 100)
