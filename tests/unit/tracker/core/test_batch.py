import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.bodies import Malformed, Refused
from services.backbone.events import type_of_path
from services.tracker.core.batch import BatchLimits, Entry, is_plainly_batch, read_batch
from services.tracker.core.bodies import TooLarge

NOW_MS = 1_800_000_000_000
ENTRY_BYTES = 10_000


def read(body: object, content_type: bytes = b"", max_events: int = 100) -> list[Entry | Refused]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    limits = BatchLimits(max_events, "MAX", entry_bytes=ENTRY_BYTES, entry_setting="MAX_ENTRY")
    return list(read_batch(content_type, data, limits, received_at_ms=NOW_MS))


def only(body: object) -> Entry:
    [entry] = read([body])
    assert isinstance(entry, Entry), entry
    return entry


@pytest.mark.parametrize(
    "body",
    [
        [{"type": "a"}, {"type": "b"}],
        {"events": [{"type": "a"}, {"type": "b"}]},
        {"batch": [{"type": "a"}, {"event": "b"}], "sentAt": "x"},
        b'{"type":"a"}\n\n{"type":"b"}\r\n',
    ],
)
def test_every_batch_format_gives_its_entries(body: object) -> None:
    assert [entry.path for entry in read(body) if isinstance(entry, Entry)] == [b"/a", b"/b"]


def test_single_object_is_a_batch_of_one() -> None:
    assert len(read({"type": "a"})) == 1
    assert len(read(b'{"type":"a"}', b"application/x-ndjson")) == 1


def test_invalid_entry_keeps_its_position() -> None:
    entries = read(b'{"type":"a"}\n{"type":\n7\n{"params":{}}\n{"type":"e"}')
    assert [isinstance(entry, Entry) for entry in entries] == [True, False, False, False, True]


@pytest.mark.parametrize("body", [b"", b"null", b"1", b'"x"', b"[", b"{", b"\xff", b"[" * 100_000])
def test_other_document_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read(body)


def test_batch_with_too_many_entries_is_refused() -> None:
    assert len(read([{"type": "a"}] * 100)) == 100
    for body in ([{"type": "a"}] * 101, b"1\n" * 101):
        with pytest.raises(TooLarge, match="100 events"):
            read(body, b"application/x-ndjson" if isinstance(body, bytes) else b"")


def test_segment_track_call_keeps_name_and_identity() -> None:
    entry = only(
        {
            "type": "track",
            "event": "Order Completed",
            "messageId": "m-1",
            "timestamp": "2026-01-01T01:00:00.500+01:00",
            "userId": "u1",
            "anonymousId": "a1",
            "properties": {"total": 9.5},
            "context": {"ip": "1.2.3.4"},
        }
    )
    assert type_of_path(entry.path) == "Order Completed"
    assert entry.query == b"total=9.5&userId=u1&anonymousId=a1"
    assert entry.id == "m-1"
    assert entry.client_time_ms == 1_767_225_600_500


def test_other_segment_calls_keep_their_type() -> None:
    page = only({"type": "page", "name": "Home", "properties": {"url": "u"}})
    assert (page.path, page.query) == (b"/page", b"url=u&name=Home")
    assert only({"type": "identify", "traits": {"plan": "x"}}).query == b"plan=x"


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"path": "/a/b"}, b"/a/b"),
        ({"path": "a/b?x=1"}, b"/a/b"),
        ({"path": "/a/b", "type": "b"}, b"/a/b"),
        ({"path": "/a/", "type": "b"}, b"/a/b"),
        ({"path": "/ü x", "type": "c"}, b"/%C3%BC%20x/c"),
        ({"type": "x/y.gif"}, b"/x%2Fy.gif.gif"),
    ],
)
def test_last_path_segment_is_the_type(entry: object, path: bytes) -> None:
    assert only(entry).path == path


def test_client_time_is_corrected_by_clock_skew() -> None:
    [entry] = read({"sent_at": NOW_MS - 60_000, "events": [{"type": "a", "ts": NOW_MS - 61_000}]})
    assert isinstance(entry, Entry)
    assert entry.client_time_ms == NOW_MS - 1000


@pytest.mark.parametrize("ts", ["yesterday", -1, True, 1e300, {}, "9" * 50])
def test_event_with_invalid_time_is_kept(ts: object) -> None:
    entry = only({"type": "a", "ts": ts})
    assert entry.client_time_ms is None
    assert "ts ignored" in entry.notes[0]


def test_event_with_invalid_id_is_kept() -> None:
    assert only({"type": "a", "id": {}}).notes
    assert only({"type": "a", "id": 7}).id == "7"


def test_entry_params_may_be_a_query() -> None:
    assert only({"type": "a", "params": "?x=1&x=2"}).query == b"x=1&x=2"


@pytest.mark.parametrize(
    "entry", [{"type": 7}, {"type": ""}, {"type": "a", "params": [1]}, {"type": "a", "path": 1}, 7]
)
def test_entry_with_invalid_members_is_refused(entry: object) -> None:
    assert isinstance(read([entry])[0], Refused)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["type", "event", "params", "properties", "traits", "id", "messageId", "ts", "timestamp", "path", "userId", "name"]
)


@given(st.lists(st.dictionaries(KEYS, JSON_VALUES, max_size=5), max_size=5))
def test_any_entry_is_read_or_refused(entries: list[object]) -> None:
    assert len(read(entries)) == len(entries)


@given(st.binary(max_size=200), st.sampled_from([b"", b"application/x-ndjson"]))
def test_any_body_is_read_or_refused(body: bytes, content_type: bytes) -> None:
    try:
        read(body, content_type)
    except Refused as refusal:
        assert str(refusal)  # noqa: PT017 - some bodies are batches


@given(st.text(min_size=1).filter(lambda text: text != "track"), st.text())
def test_type_is_always_last_path_segment(event_type: str, path: str) -> None:
    assert type_of_path(only({"type": event_type, "path": path}).path) == event_type


BAD_VALUES = {
    "NaN": b"NaN",
    "a number out of range": b"1e400",
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "depth": b"[" * 4000 + b"]" * 4000,
    "depth of objects": b'{"a":' * 1500 + b"1" + b"}" * 1500,
    "an entry over the limit": b'"%s"' % (b"x" * ENTRY_BYTES),
    "depth over the limit": b"[" * 1_000_000 + b"]" * 1_000_000,
    "no JSON": b'{"a" 1}',
}
DOCUMENTS = {
    "array": b'[{"type":"a"},{"type":"b","params":%s},{"type":"c"}]',
    "events": b'{"events":[{"type":"a"},{"type":"b","params":%s},{"type":"c"}]}',
    "batch": b'{"key":"k", "batch" : [{"type":"a"},{"type":"b","params":%s},{"type":"c"}],"sentAt":1}',
    "lines": b'{"type":"a"}\n{"type":"b","params":%s}\n{"type":"c"}',
}


@pytest.mark.parametrize("bad", BAD_VALUES.values(), ids=BAD_VALUES)
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_invalid_entry_is_refused_and_others_are_read(document: bytes, bad: bytes) -> None:
    first, refused, last = read(document % bad)
    assert isinstance(first, Entry)
    assert isinstance(refused, Refused)
    assert str(refused)
    assert isinstance(last, Entry)
    assert (first.path, last.path) == (b"/a", b"/c")


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
@pytest.mark.parametrize("text", [rb"cut \ud83d", rb"\ude00", rb"\ude00\ud83d", rb"\uD83D\u0041", rb"\\\ud83d."])
def test_entry_with_a_lone_surrogate_is_refused_with_its_reason(document: bytes, text: bytes) -> None:
    first, refused, last = read(document % b'{"x":"%s"}' % text)
    assert (type(first), type(refused), type(last)) == (Entry, Malformed, Entry)
    assert "half of a surrogate pair" in str(refused)


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_entry_with_a_surrogate_pair_or_an_escaped_backslash_is_read(document: bytes) -> None:
    _, entry, _ = read(document % rb'{"x":"\ud83d\ude00\\ud83d"}')
    assert isinstance(entry, Entry)
    assert entry.query.decode() == "x=\N{GRINNING FACE}\\ud83d"


def test_sent_at_is_read_when_another_entry_is_invalid() -> None:
    body = b'{"batch":[{"type":"a","ts":%d},NaN],"sentAt":%d}' % (NOW_MS - 61_000, NOW_MS - 60_000)
    entry, _ = read(body)
    assert isinstance(entry, Entry)
    assert entry.client_time_ms == NOW_MS - 1000


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_byte_order_mark_is_ignored(document: bytes) -> None:
    assert all(isinstance(entry, Entry) for entry in read(b"\xef\xbb\xbf" + document % b"{}"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'[{"type":"a"}]', True),
        (b'\xef\xbb\xbf [ {"event":"a"} ]', True),
        (b'{"batch":[{"event":"a"}]}', True),
        (b'{"api_key":"k","events":[{"type":"a"}]}', True),
        (b'{"type":"a"}\n{"type":"b"}', True),
        (b'{"items":[{"type":"a"}]}', False),
        (b'{"more":{"batch":[{"type":"a"}]}}', False),
        (b'{"batch":[{"size":1}]}', False),
        (b"[1,2]", False),
        (b'{"a":1}', False),
        (b"[{", False),
        (b"a=1", False),
        (b"", False),
    ],
)
def test_batch_sent_as_one_event_is_recognised(body: bytes, *, expected: bool) -> None:
    assert is_plainly_batch(body) is expected
