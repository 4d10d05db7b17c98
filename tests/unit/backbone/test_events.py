import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.backbone.events import (
    FINGERPRINT_BYTES,
    META_KEYS,
    Device,
    Event,
    InvalidEvent,
    Location,
    RawEvent,
    decode_raw,
    decode_type,
    encode_event,
    encode_params,
    encode_raw,
    encode_type,
    fingerprint,
    meta_text,
    meta_value,
    parameter,
    parameters,
    path_of_type,
    split_event,
    type_of_path,
)
from tests.decoding import decode_event

SAMPLES = json.loads((Path(__file__).parents[2] / "examples" / "events.json").read_text())["samples"]

text = st.text(max_size=30)
words = st.text(min_size=1, max_size=30)
ms = st.integers(0, 2**48)

raw_events = st.builds(
    RawEvent,
    id=text,
    received_at_ms=ms,
    address=text,
    host=st.binary(),
    pod=text,
    path=st.binary(),
    query=st.binary(),
    user_agent=st.binary(),
    referrer=st.binary(),
    opted_out=st.booleans(),
    client_time_ms=st.none() | st.integers(-(2**62), 2**62),
)
addresses = (
    st.just("") | st.integers(0, 2**32 - 1).map("{:08x}".format) | st.integers(0, 2**128 - 1).map("{:032x}".format)
)
events = st.builds(
    Event,
    type=words,
    id=text,
    received_at_ms=ms,
    queue_delay_ms=ms,
    host=text,
    pod=text,
    address=addresses,
    location=st.builds(Location, text, text),
    device=st.builds(Device, words, *[text] * (len(Device.__struct_fields__) - 1)),
    referrer=text,
    client_time_ms=st.none() | st.integers(-(2**62), 2**62),
    opted_out=st.booleans(),
    params=st.binary().map(encode_params),
)


# The queue's format


@given(raw_events)
def test_any_bytes_survive_the_queue(event: RawEvent) -> None:
    assert decode_raw(encode_raw(event)) == event


@given(st.binary())
@example(b"")
@example(b"\x01")
@example(b"\x02" + msgspec.msgpack.encode([]))
@example(b"\x01" + msgspec.msgpack.encode({"id": "x"}))
@example(b"\x01" + msgspec.msgpack.encode(["too", "few"]))
@example(b"\x01\x9c" + encode_raw(RawEvent("i", 1, "", b"", "", b"/", b"", b"", b""))[2:] + b"\x91" * 5000)
def test_bytes_that_are_not_an_entry_raise_invalid_event_only(entry: bytes) -> None:
    try:
        decode_raw(entry)
    except InvalidEvent:
        return
    assert entry[:1] == b"\x01"


# The type of a path


@pytest.mark.parametrize(
    ("path", "event_type"),
    [
        (b"/", "/"),
        (b"", "/"),
        (b"///", "/"),
        (b"/open", "open"),
        (b"/a/b/open/", "open"),
        (b"/t/open.gif", "open"),
        (b"/t/open.GIF", "open"),
        (b"/t/a.b.png", "a.b"),
        (b"/t/.gif", ".gif"),
        (b"/t/page.html", "page.html"),
        (b"/two%20words", "two words"),
        (b"/gr%C3%B6%C3%9Fe", "größe"),
        (b"/%FF", "\ufffd"),
        (b"/100%", "100%"),
        (b"/a%2Fb", "a/b"),
        (b"/%2F", "/"),
        (b"/%00", "\0"),
    ],
)
def test_type_is_the_last_segment(path: bytes, event_type: str) -> None:
    assert type_of_path(path) == event_type


@given(st.binary())
def test_every_path_has_a_type(path: bytes) -> None:
    assert type_of_path(path)


@given(words)
@example("/")
@example("a.gif")
@example(".gif")
@example("a.gif.PNG")
@example("%2F")
@example("..")
def test_path_of_a_type_has_that_type(event_type: str) -> None:
    assert type_of_path(path_of_type(event_type)) == event_type


@pytest.mark.parametrize("event_type", ["", "\ud800"])
def test_types_that_no_path_can_have_are_invalid(event_type: str) -> None:
    with pytest.raises(InvalidEvent):
        path_of_type(event_type)


# The topic's format


@settings(max_examples=50)
@given(events)
def test_events_survive_the_topic(event: Event) -> None:
    value = encode_event(event)
    assert decode_event(value) == event
    assert value.isascii()
    assert b"\n" not in value
    assert value.count(b" ") == 2


@settings(max_examples=50)
@given(events)
def test_fields_can_be_read_one_by_one(event: Event) -> None:
    encoded = split_event(encode_event(event))
    assert decode_type(encoded.type) == event.type
    meta = dict(parse_qsl(encoded.meta.decode(), keep_blank_values=True))
    for key in ("id", "ts", "klag", "host", "pod", "ip", "country", "city", "device", "ref", "cts", "optout", "none"):
        value = meta_value(encoded.meta, key.encode())
        assert (None if value is None else meta_text(value)) == meta.get(key)


@given(st.binary())
@example(b"a id=1&ts=1&klag=1 -")
@example(b"a id=1&ts=x&klag=1 -")
@example(b"a id=1&ts=" + b"9" * 5000 + b"&klag=1 -")
@example(b"a ts=1&klag=1 -")
@example(b"  ")
@example(b"a b c d")
def test_bytes_that_are_not_an_event_raise_invalid_event_only(value: bytes) -> None:
    try:
        decode_event(value)
    except InvalidEvent:
        return
    assert value.count(b" ") == 2


def test_unknown_keys_of_meta_are_ignored() -> None:
    assert decode_event(b"t id=1&ts=2&klag=3&new=x -") == Event("t", "1", 2, 3)


@given(words)
def test_encoded_type_is_printable_without_a_space(event_type: str) -> None:
    encoded = encode_type(event_type)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert " " not in encoded
    assert decode_type(encoded.encode()) == event_type


@pytest.mark.parametrize("plain", ["open", "/", "a/b", "page.html", "a+b", "x[y]", "~!$&'()*,;=:@"])
def test_types_that_need_no_encoding_stay_readable(plain: str) -> None:
    assert encode_type(plain) == plain


@given(st.binary())
@example(b"-")
def test_params_keep_their_meaning_and_never_break_the_format(query: bytes) -> None:
    encoded = encode_params(query)
    assert " " not in encoded
    assert encoded.isascii()
    assert encoded.isprintable()
    assert encoded != "-"
    latin = query.decode("latin-1").replace(" ", "+")
    expected = parse_qsl(latin, keep_blank_values=True, encoding="latin-1")
    assert parse_qsl(encoded.replace("%20", "+"), keep_blank_values=True, encoding="latin-1") == expected


@given(st.lists(st.tuples(words, text)))
def test_parameters_come_in_order_with_repeats(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in pairs)
    assert list(parameters(query)) == pairs
    for key, _ in pairs:
        assert parameter(query, key) == dict(reversed(pairs))[key]


@pytest.mark.parametrize(
    ("params", "value"),
    [
        ("", None),
        ("b=1", None),
        ("a=1&a=2", "1"),
        ("%61=1", "1"),
        ("a=", ""),
        ("a", ""),
        ("xa=1", None),
        ("a=%zz", "%zz"),
    ],
)
def test_parameter_is_the_first_of_its_name(params: str, value: str | None) -> None:
    assert parameter(params, "a") == value


# Golden samples, which kafkastore's tests also read


def bytes_of(sample: str) -> bytes:
    return sample.encode("latin-1")


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample["name"] for sample in SAMPLES])
def test_golden_samples_are_encoded_and_decoded(sample: dict[str, Any]) -> None:
    raw = dict(sample["raw"])
    for field in ("host", "path", "query", "user_agent", "referrer"):
        raw[field] = bytes_of(raw[field])
    assert decode_raw(bytes.fromhex(sample["entry"])) == RawEvent(**raw)
    assert encode_raw(RawEvent(**raw)).hex() == sample["entry"]

    event = msgspec.convert(sample["event"], Event)
    assert decode_event(sample["value"].encode()) == event
    assert encode_event(event).decode() == sample["value"]
    assert type_of_path(raw["path"]) == event.type


@given(event=events, key=st.one_of(st.none(), st.binary()))
def test_fingerprint_is_the_same_whether_the_id_is_in_the_header_or_in_meta(event: Event, key: bytes | None) -> None:
    encoded = split_event(encode_event(event))
    by_header = fingerprint(encoded, key, (("v", b"1"), ("id", event.id.encode())))
    assert by_header == fingerprint(encoded, key, ())
    if event.id:
        assert by_header is not None
        assert len(by_header) == FINGERPRINT_BYTES
        assert by_header != fingerprint(encoded, key, (("id", event.id.encode() + b"x"),))


some_bytes = st.binary(min_size=1)


@given(one=st.tuples(some_bytes, some_bytes), other=st.tuples(some_bytes, some_bytes))
def test_fingerprints_are_equal_exactly_for_equal_pairs(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> None:
    made = [fingerprint(split_event(b"a ts=1 -"), key, (("id", id_),)) for key, id_ in (one, other)]
    assert (made[0] == made[1]) == (one == other)


def test_fingerprints_differ_when_a_character_moves_from_key_to_id() -> None:
    event = split_event(b"a ts=1 -")
    parts = [(b"device", b"1 23"), (b"device 1", b"23"), (b"device 1 2", b"3"), (b"devic", b"e1 23")]
    assert len({fingerprint(event, key, (("id", id_),)) for key, id_ in parts}) == len(parts)


def test_fingerprint_of_an_address_differs_from_a_device_id_with_the_same_text() -> None:
    by_address = fingerprint(split_event(b"a id=1&ts=1&ip=cb007100&country=DE -"), b"cb007100", ())
    by_device = fingerprint(split_event(b"a id=1&ts=1&ip=c0000200&country=DE di=cb007100"), b"cb007100", ())
    assert by_address != by_device


def test_fingerprint_without_a_key_covers_the_time_of_receipt() -> None:
    first, again, later = (split_event(b"a id=1&ts=%d&klag=%d -" % times) for times in ((5, 1), (5, 2), (6, 1)))
    assert fingerprint(first, None, ()) == fingerprint(again, None, ())
    assert fingerprint(first, None, ()) != fingerprint(later, None, ())


def test_event_without_an_id_has_no_fingerprint() -> None:
    for value in (b"a ts=1 -", b"a id=&ts=1 -", b"a xid=5 id=7"):
        assert fingerprint(split_event(value), b"key", (("id", b""), ("v", b"1"))) is None


def test_meta_keys_have_the_order_of_the_encoded_keys() -> None:
    device = Device(**dict.fromkeys(Device.__struct_fields__, "x"))
    event = Event("t", "1", 2, 3, "h", "p", "7f000001", Location("DE", "Berlin"), device, "r", 4, opted_out=True)
    pairs = split_event(encode_event(event)).meta.split(b"&")
    assert tuple(pair.partition(b"=")[0] for pair in pairs) == META_KEYS
