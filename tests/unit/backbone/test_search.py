import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.events import (
    Event,
    RawEvent,
    client_id,
    encode_event,
    encode_params,
    encode_raw,
    type_of_path,
)
from services.backbone.search import (
    MOST_TARGETS,
    EntryMatch,
    InvalidSearch,
    SearchedStore,
    StoredEntry,
    Target,
    TargetMatcher,
    TrackerReport,
    decode_report,
    decode_targets,
    encode_report,
    encode_targets,
)

IDS = st.text(min_size=1, max_size=128).filter(lambda text: client_id(text) == text)
PARAMS = st.binary(max_size=40).map(encode_params).filter(lambda params: params != "-")
TARGETS = st.builds(Target, id=IDS) | st.builds(Target, type=st.text("ab é/", min_size=1), params=PARAMS)


def raw(event_id: str = "a", path: bytes = b"/shop/view", query: bytes = b"") -> RawEvent:
    return RawEvent(event_id, 1, "192.0.2.1", b"h", "p", path, query, b"", b"")


def record(raw_event: RawEvent) -> bytes:
    return encode_event(Event(type_of_path(raw_event.path), raw_event.id, 1, 0, params=encode_params(raw_event.query)))


@given(st.lists(TARGETS, min_size=1, max_size=MOST_TARGETS))
def test_targets_survive_the_round_trip(targets: list[Target]) -> None:
    assert decode_targets(encode_targets(targets)) == targets


@given(IDS, st.binary(max_size=30), st.binary(max_size=60))
def test_entry_and_record_of_any_event_match_its_id_and_its_content(event_id: str, name: bytes, query: bytes) -> None:
    event = raw(event_id, b"/" + name, query)
    content = Target(type=type_of_path(event.path), params=encode_params(query))
    matcher = TargetMatcher([Target(id=event_id), content])
    assert matcher.match_entry(encode_raw(event)) == EntryMatch((0, 1))
    assert matcher.match_record(record(event), [("id", event_id.encode())]) == (0, 1)
    assert matcher.match_record(record(event), []) == (0, 1)


def test_part_of_an_id_does_not_match() -> None:
    matcher = TargetMatcher([Target(id="order-1")])
    assert matcher.match_entry(encode_raw(raw("order-12"))) == EntryMatch()
    assert matcher.match_entry(encode_raw(raw("a", query=b"ref=order-1"))) == EntryMatch()
    assert matcher.match_record(record(raw("order-12")), []) == ()
    assert matcher.match_record(record(raw("a", query=b"ref=order-1")), []) == ()


def test_header_of_a_record_counts_before_its_meta() -> None:
    matcher = TargetMatcher([Target(id="header"), Target(id="meta")])
    assert matcher.match_record(record(raw("meta")), [("id", b"header")]) == (0,)
    assert matcher.match_record(record(raw("meta")), [("v", b"1")]) == (1,)


def test_undecodable_entry_matches_an_id_in_its_bytes() -> None:
    matcher = TargetMatcher([Target(id="order-1"), Target(type="view")])
    assert matcher.match_entry(b"\x07 order-1 \xff") == EntryMatch((0,), decodable=False)
    assert matcher.match_entry(b"\x07 other") == EntryMatch((), decodable=False)


@pytest.mark.parametrize("value", [b"", b"view", b"a  b", b"\xff \xff \xff", b"a b c d"])
def test_record_that_is_not_an_event_matches_no_id(value: bytes) -> None:
    assert TargetMatcher([Target(id="a")]).match_record(value, []) == ()


def test_content_without_parameters_matches_only_events_without() -> None:
    matcher = TargetMatcher([Target(type="view")])
    assert matcher.match_record(record(raw()), []) == (0,)
    assert matcher.match_record(record(raw(query=b"x=1")), []) == ()
    assert matcher.match_entry(encode_raw(raw(path=b"/other/view.gif"))).targets == (0,)


@pytest.mark.parametrize(
    "query",
    ["", "id=", "id=%00", "id=" + "x" * 129, "id= a", "type=", "params=x", "id=a&params=x", "type=a&params=b&params=c",
     "type=a&params=%C3%BC", "other=1", "&".join(["id=a"] * (MOST_TARGETS + 1))],
)  # fmt: skip
def test_invalid_targets_are_refused_with_what_is_allowed(query: str) -> None:
    with pytest.raises(InvalidSearch, match=r"id=|1 to|type=|percent-encode"):
        decode_targets(query)


def test_report_survives_the_round_trip() -> None:
    found = StoredEntry(3, before=7, decodable=False, instance="h-1", claimed_ms_ago=12, lease_ms=-1)
    store = SearchedStore(9, 9, [found])
    report = TrackerReport("10.0.0.1", "", {"accepted": 1}, None, store, SearchedStore(error="away"))
    assert decode_report(encode_report(report)) == report
    with pytest.raises(ValueError, match="pod"):
        decode_report(b"{}")
