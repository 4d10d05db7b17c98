import base64
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.backbone import names
from services.backbone.dead_letters import DeadLetter
from services.backbone.erasure import device_digest
from services.backbone.events import (
    Device,
    Event,
    Location,
    RawEvent,
    Record,
    decode_raw,
    encode_raw,
    split_event,
    type_of_path,
)
from services.kafkastore.core.entries import FailedEntry, dead_letter, dead_value, encode, enrich, id_of, prepare
from services.kafkastore.settings import IpMode
from tests.decoding import decode_event

NOW_MS = 1_764_000_000_120
SAMPLES: list[dict[str, Any]] = json.loads((Path(__file__).parents[3] / "examples/events.json").read_bytes())["samples"]
# The tests of the tracker check its encoder against these samples. kafkastore must decode the same bytes.
TRACKED: list[dict[str, Any]] = json.loads((Path(__file__).parents[3] / "examples/requests.json").read_bytes())[
    "samples"
]
RAW = RawEvent(
    id="e1",
    received_at_ms=NOW_MS - 120,
    address="83.149.9.216",
    host=b"trk.example.org",
    pod="10.1.2.3",
    path=b"/offers/view.gif",
    query=b"a=1",
    user_agent=b"",
    referrer=b"",
)
# All values of msgpack: UTF-8 text, bytes, 64-bit numbers.
TEXT = st.text(st.characters(codec="utf-8"))
RAW_EVENTS = st.builds(
    RawEvent,
    id=TEXT,
    received_at_ms=st.integers(-(2**63), 2**64 - 1) | st.integers(NOW_MS - 10**6, NOW_MS + 10**6),
    address=TEXT | st.ip_addresses().map(str),
    host=st.binary(),
    pod=TEXT,
    path=st.binary(),
    query=st.binary(),
    user_agent=st.binary(),
    referrer=st.binary(),
    opted_out=st.booleans(),
    client_time_ms=st.none() | st.integers(-(2**63), 2**64 - 1),
)
MODES = st.sampled_from(["truncated", "full", "none"])


def prepared(entry: bytes, ip_mode: IpMode = "truncated") -> Record | FailedEntry:
    outcome = prepare(
        entry,
        now_ms=NOW_MS,
        ip_mode=ip_mode,
        locate=lambda _: Location("DE", "Köln & Umland"),
        classify=lambda _: Device("phone", "A B", "Android", "9"),
    )
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["name"] for sample in SAMPLES])
def test_every_golden_sample_becomes_exactly_its_record(sample: dict[str, Any]) -> None:
    texts = {"id", "address", "pod"}
    fields: dict[str, Any] = {
        name: value.encode("latin-1") if isinstance(value, str) and name not in texts else value
        for name, value in sample["raw"].items()
    }
    raw = RawEvent(**fields)
    entry = bytes.fromhex(sample["entry"])
    assert decode_raw(entry) == raw

    message = prepare(
        entry,
        now_ms=sample["now_ms"],
        ip_mode=sample["ip_mode"],
        locate=lambda _: Location(**sample["location"]),
        classify=lambda _: Device(**sample["device"]),
    )

    assert isinstance(message, Record)
    assert message.value.decode() == sample["value"]
    assert message.key == (None if sample["key"] is None else sample["key"].encode("latin-1"))
    assert msgspec.to_builtins(decode_event(message.value)) == sample["event"]


@settings(deadline=None)  # the machine may be busy
@given(RAW_EVENTS, MODES)
def test_any_raw_event_becomes_an_event_that_reads_the_same_or_a_dead_letter(raw: RawEvent, ip_mode: IpMode) -> None:
    message = prepared(encode_raw(raw), ip_mode)
    if isinstance(message, FailedEntry):
        assert message.stage == "enrich"
        assert not 0 <= raw.received_at_ms < 2**53
        return
    event = enrich(
        raw, Location("DE", "Köln & Umland"), Device("phone", "A B", "Android", "9"), now_ms=NOW_MS, ip_mode=ip_mode
    )
    assert decode_event(message.value) == event
    assert event.type == type_of_path(raw.path)
    assert event.queue_delay_ms >= 0
    assert message.timestamp_ms is not None
    assert 0 <= message.timestamp_ms <= NOW_MS
    assert len(message.key or b"") <= 256
    assert len(split_event(message.value)) == 3


@settings(deadline=None)  # the machine may be busy
@given(st.binary() | st.binary().map(lambda tail: b"\x01" + tail))
def test_no_bytes_raise(entry: bytes) -> None:
    outcome = prepared(entry)
    assert isinstance(outcome, FailedEntry)
    assert outcome.entry == entry
    assert outcome.stage == "decode"
    assert len(dead_value(entry, "truncated")) == len(entry)
    assert dead_value(entry, "full") == entry


@pytest.mark.parametrize(
    ("mode", "left", "pod"), [("truncated", b"83.149.9.000", b"10.1.2.0"), ("none", b"00.000.0.000", b"00.0.0.0")]
)
def test_undecodable_entry_keeps_only_the_masked_address(mode: IpMode, left: bytes, pod: bytes) -> None:
    # An unknown version. The bytes after the first one are valid, and stay valid.
    entry = b"\x02" + encode_raw(RAW)[1:]
    assert dead_value(entry, mode) == entry.replace(b"83.149.9.216", left).replace(b"10.1.2.3", pod)
    assert decode_raw(b"\x01" + dead_value(entry, mode)[1:]).id == RAW.id


def test_value_that_can_not_be_encoded_fails_at_encode() -> None:
    outcome = prepare(
        encode_raw(RAW), now_ms=NOW_MS, ip_mode="full", locate=lambda _: Location("\ud800"), classify=lambda _: Device()
    )
    assert isinstance(outcome, FailedEntry)
    assert (outcome.stage, outcome.reason[:20]) == ("encode", "UnicodeEncodeError: ")


def test_reason_contains_no_address() -> None:
    def broken(address: str) -> Location:
        raise ValueError(f"{address} is not in 2a00:1450:4001:80e::/64")

    outcome = prepare(encode_raw(RAW), now_ms=NOW_MS, ip_mode="truncated", locate=broken, classify=lambda _: Device())
    assert outcome == FailedEntry(
        encode_raw(RAW), "enrich", "ValueError: 83.149.9.000 is not in 2a00:1450:4001:000::/64"
    )


@pytest.mark.parametrize("query", [b"di=d-7", b"a=1&di=d%2D7&di=other", b"d%69=d-7"])
def test_entry_of_an_erased_device_becomes_none(query: bytes) -> None:
    def outcome(raw: RawEvent) -> Record | FailedEntry | None:
        return prepare(
            encode_raw(raw),
            now_ms=NOW_MS,
            ip_mode="full",
            locate=lambda _: Location(),
            classify=lambda _: Device(),
            erased=frozenset((device_digest("d-7"),)),
        )

    assert outcome(msgspec.structs.replace(RAW, query=query)) is None
    # Also an entry that would otherwise become a dead letter.
    assert outcome(msgspec.structs.replace(RAW, query=query, received_at_ms=-1)) is None
    assert isinstance(outcome(RAW), Record)
    assert isinstance(outcome(msgspec.structs.replace(RAW, query=b"di=other&di=d-7")), Record)


def test_entry_with_invalid_utf8_fails() -> None:
    entry = encode_raw(RAW).replace(b"\xa2e1", b"\xa2\xff\xfe")
    outcome = prepared(entry)
    assert isinstance(outcome, FailedEntry)
    assert outcome.stage == "decode"


def test_lookup_error_fails_only_its_entry() -> None:
    def broken(_: bytes) -> Device:
        raise RecursionError("deep")

    outcome = prepare(encode_raw(RAW), now_ms=NOW_MS, ip_mode="full", locate=lambda _: Location(), classify=broken)
    assert outcome == FailedEntry(encode_raw(RAW), "enrich", "RecursionError: deep")


def event(**changes: Any) -> Event:
    return msgspec.structs.replace(Event("view", "e1", NOW_MS, 0), **changes)


@pytest.mark.parametrize(
    ("params", "address", "key"),
    [
        ("di=abc&x=1", "53950900", b"abc"),
        ("x=1&di=%C3%A9", "53950900", "é".encode()),
        ("di=&x=1", "53950900", b"53950900"),
        ("adi=7", "53950900", b"53950900"),
        ("d%69=7", "", b"7"),
        ("di=1&di=2", "", b"1"),
        ("", "", None),
        ("di=" + "x" * 300, "", b"x" * 256),
    ],
)
def test_key_is_the_device_or_the_address_or_none(params: str, address: str, key: bytes | None) -> None:
    assert encode(event(params=params, address=address), now_ms=NOW_MS).key == key


def test_record_contains_id_format_version_and_time_of_receipt() -> None:
    message = encode(event(id="é"), now_ms=NOW_MS + 5)
    assert message.headers == ((names.HEADER_EVENT_ID, "é".encode()), (names.HEADER_FORMAT_VERSION, b"1"))
    assert message.timestamp_ms == NOW_MS


def test_timestamp_is_never_in_the_future() -> None:
    # A broker rejects the whole batch for one such timestamp.
    assert encode(event(received_at_ms=NOW_MS + 86_400_000), now_ms=NOW_MS).timestamp_ms == NOW_MS


@pytest.mark.parametrize(("mode", "left"), [("truncated", "83.149.9.0"), ("none", ""), ("full", "83.149.9.216")])
def test_dead_letter_keeps_only_the_masked_address(mode: IpMode, left: str) -> None:
    kept = decode_raw(dead_value(encode_raw(RAW), mode))
    assert kept == msgspec.structs.replace(RAW, address=left)


def test_dead_letter_holds_the_masked_entry_and_the_failure() -> None:
    letter = dead_letter(FailedEntry(b"from 81.2.69.142", "decode", "why"), ip_mode="truncated", time_ms=1, attempt=3)
    assert letter == DeadLetter(b"from 81.2.69.000", "decode", "why", 1, 3)


@pytest.mark.parametrize("sample", TRACKED, ids=lambda sample: sample["name"])
def test_entry_of_the_tracker_becomes_a_record(sample: dict[str, Any]) -> None:
    entry = base64.b64decode(sample["entry"])
    raw = decode_raw(entry)
    assert raw.id == sample["event"]["id"]
    assert raw.path.decode("latin-1") == sample["event"]["path"]
    assert raw.query.decode("latin-1") == sample["event"]["query"]
    message = prepared(entry)
    assert isinstance(message, Record)
    assert decode_event(message.value).type == sample["type"]


def test_log_gets_the_id_of_an_entry_without_addresses() -> None:
    assert id_of(encode_raw(RAW), "truncated") == "e1"
    other = encode_raw(msgspec.structs.replace(RAW, id="from 81.2.69.142"))
    assert id_of(other, "truncated") == "from 81.2.69.000"
    own = encode_raw(msgspec.structs.replace(RAW, id="from 83.149.9.216"))
    assert re.fullmatch("[0-9a-f]{32}", id_of(own, "truncated"))
    assert id_of(own, "full") == "from 83.149.9.216"


def test_id_with_the_address_of_the_client_becomes_one_digest_in_topic_log_and_dead_letter() -> None:
    own = msgspec.structs.replace(RAW, id="83.149.9.216-7")
    record = prepared(encode_raw(own))
    assert isinstance(record, Record)
    assert decode_event(record.value).id == id_of(encode_raw(own), "truncated")
    assert decode_raw(dead_value(encode_raw(own), "truncated")).id == id_of(encode_raw(own), "truncated")
    later = msgspec.structs.replace(own, received_at_ms=own.received_at_ms + 1)
    assert id_of(encode_raw(later), "truncated") != id_of(encode_raw(own), "truncated")


@given(st.binary())
def test_undecodable_entry_has_no_id(entry: bytes) -> None:
    assert id_of(entry, "truncated") == ""
