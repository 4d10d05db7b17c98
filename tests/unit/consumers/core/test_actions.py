import json
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumers.core import actions
from services.consumers.core.actions import (
    BULK_DATA,
    GEO_UPDATES,
    MATCH_NOTIFIER,
    ActionRule,
    Selected,
    SourceRecord,
    select,
)
from services.storage.core.filters import is_id
from services.storage.core.movement import MAX_ACCURACY_M

OBJECT_ID = "652f00aa652f00AA652f00aa"


def record(text: str, *, offset: int = 0, key: bytes | None = b"phone", meta: str = "id=1&ts=1000") -> SourceRecord:
    kind, _, params = text.partition("?")
    return SourceRecord(0, offset, key, f"{kind} {meta} {params or '-'}".encode(), ())


def chosen(rule: ActionRule, *texts: str) -> list[Selected]:
    return select(rule, [record(text, offset=at, meta=f"id={at}&ts=1000") for at, text in enumerate(texts)])


def arguments(selected: Selected) -> dict[str, object]:
    assert not selected.invalid
    found: dict[str, object] = json.loads(selected.action.arguments)
    return found


def test_fix_has_the_parameters_of_its_event() -> None:
    (fix,) = chosen(GEO_UPDATES, "geo?di=phone%201&lt=52.5&lg=-13.4&a=12&ts=990")
    assert arguments(fix) == {
        "device": "phone 1",
        "latitude": 52.5,
        "longitude": -13.4,
        "accuracy_m": 12.0,
        "at_ms": 990,
    }
    assert fix.action.handler == "geo_updates"


@pytest.mark.parametrize("ts", ["", "&ts=", "&ts=1001", "&ts=99999999999"])
def test_fix_has_the_time_of_receipt_when_its_time_is_missing_or_later(ts: str) -> None:
    (fix,) = chosen(GEO_UPDATES, f"geo?di=a&lt=1&lg=2{ts}")
    assert arguments(fix)["at_ms"] == 1000


def test_poll_is_folded_to_the_newest_fix_of_each_device() -> None:
    fixes = [
        "geo?di=a&lt=1&lg=0&ts=10",
        "geo?di=b&lt=2&lg=0&ts=10",
        "geo?di=a&lt=3&lg=0&ts=30",
        "geo?di=a&lt=4&lg=0&ts=20",
    ]
    selected = chosen(GEO_UPDATES, *fixes)
    assert [(each.offset, arguments(each)["latitude"]) for each in selected] == [(1, 2.0), (2, 3.0)]


def test_inexact_fix_replaces_no_exact_one() -> None:
    exact, newer = "geo?di=a&lt=1&lg=0&ts=10&a=500", "geo?di=a&lt=2&lg=0&ts=20&a=501"
    assert [arguments(each)["latitude"] for each in chosen(GEO_UPDATES, exact, newer)] == [1.0]
    assert [arguments(each)["latitude"] for each in chosen(GEO_UPDATES, newer, exact)] == [1.0]


def test_newest_inexact_fix_is_chosen_when_none_is_exact() -> None:
    fixes = [f"geo?di=a&lt={at}&lg=0&ts={at}&a=501" for at in (1, 3, 2)]
    assert [arguments(each)["latitude"] for each in chosen(GEO_UPDATES, *fixes)] == [3.0]


def test_default_limit_of_exact_fixes_is_that_of_storage() -> None:
    assert actions._MOST_ACCURACY_M == MAX_ACCURACY_M


def test_last_of_two_fixes_of_the_same_time_is_the_newest() -> None:
    selected = chosen(GEO_UPDATES, "geo?di=a&lt=1&lg=0&ts=10", "geo?di=a&lt=2&lg=0&ts=10")
    assert [each.offset for each in selected] == [1]


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ("lt=1&lg=2", "di"),
        ("di=&lt=1&lg=2", "di"),
        (f"di={'x' * 257}&lt=1&lg=2", "di"),
        ("di=a&lg=2", "lt"),
        ("di=a&lt=nan&lg=2", "lt"),
        ("di=a&lt=90.01&lg=2", "lt"),
        ("di=a&lt=1_0&lg=2", "lt"),
        ("di=a&lt=1&lg=-inf", "lg"),
        ("di=a&lt=1&lg=180.5", "lg"),
        ("di=a&lt=1&lg=2&a=-1", "a"),
        ("di=a&lt=1&lg=2&a=far", "a"),
        ("di=a&lt=1&lg=2&ts=soon", "ts"),
        ("di=a&lt=1&lg=2&ts=-1", "ts"),
    ],
)
def test_invalid_fix_names_the_wrong_parameter(params: str, name: str) -> None:
    (invalid,) = chosen(GEO_UPDATES, f"geo?{params}")
    assert invalid.invalid.startswith(f"{name}: ")
    assert json.loads(invalid.action.arguments) == {"type": "geo", "params": params}


def test_invalid_fix_does_not_replace_a_valid_one() -> None:
    selected = chosen(GEO_UPDATES, "geo?di=a&lt=1&lg=0", "geo?di=a&lt=x&lg=0")
    assert [bool(each.invalid) for each in selected] == [False, True]


def test_fix_of_a_person_who_opted_out_needs_no_action() -> None:
    assert select(GEO_UPDATES, [record("geo?lt=1&lg=2", meta="id=1&ts=1000&optout=1")]) == []


@pytest.mark.parametrize("action", ["create", "update", "setact"])
@pytest.mark.parametrize(("kind", "collection"), [("offr", "offers"), ("srch", "searches")])
def test_changed_object_is_matched(kind: str, collection: str, action: str) -> None:
    (match,) = chosen(MATCH_NOTIFIER, f"{kind}?action={action}&_id={OBJECT_ID}")
    assert arguments(match) == {"collection": collection, "id": OBJECT_ID}


@pytest.mark.parametrize(
    "text",
    [
        "offr?action=delete&_id=1",
        "srch?action=search&_id=1",
        "offr?action=preview&text=jazz",
        "offr?action=create",
        "offr?_id=",
        "mtf?_id=1",
        "offr",
    ],
)
def test_other_events_are_not_matched(text: str) -> None:
    assert chosen(MATCH_NOTIFIER, text) == []


@given(st.one_of(st.from_regex(r"[0-9A-Fa-f]{23,25}", fullmatch=True), st.from_regex(r"[\w-]{1,64}", fullmatch=True)))
def test_id_is_valid_exactly_when_storage_accepts_it(id_: str) -> None:
    (selected,) = chosen(MATCH_NOTIFIER, f"offr?_id={quote(id_)}")
    assert bool(selected.invalid) == (not is_id(id_))


@pytest.mark.parametrize("id_", ["a/b", "..", "a%00b", "x" * 65, "%2F%2Fhost"])
def test_id_that_could_change_the_path_of_a_request_is_invalid(id_: str) -> None:
    (invalid,) = chosen(MATCH_NOTIFIER, f"offr?_id={id_}")
    assert invalid.invalid.startswith("_id: ")


def test_bulk_update_notifies_the_searchers_of_its_owner() -> None:
    (found,) = chosen(BULK_DATA, "bud?owner=Meetup+Com%2F1")
    assert arguments(found) == {"owner": "Meetup Com/1"}


def test_bulk_update_without_an_owner_is_invalid() -> None:
    assert [each.invalid[:6] for each in chosen(BULK_DATA, "bud", "bud?owner=")] == ["owner:", "owner:"]


@pytest.mark.parametrize("owner", [".", "..", "%2E%2e"])
def test_owner_that_would_change_the_path_of_a_request_is_invalid(owner: str) -> None:
    (invalid,) = chosen(BULK_DATA, f"bud?owner={owner}")
    assert invalid.invalid.startswith("owner: ")


@pytest.mark.parametrize("character", ["%0A", "%0D", "%00", "%7F", "%C2%85"])
def test_owner_with_a_control_character_is_invalid(character: str) -> None:
    (invalid,) = chosen(BULK_DATA, f"bud?owner=Meetup{character}Com")
    assert invalid.invalid.startswith("owner: ")
    assert "control character" in invalid.invalid


def test_event_of_another_sender_has_another_id() -> None:
    text = "bud?owner=a"
    first, second, repeated = (select(BULK_DATA, [record(text, key=key)])[0] for key in (b"a", b"b", b"a"))
    assert first.action.id == repeated.action.id
    assert first.action.id != second.action.id


def test_event_without_an_id_is_identified_by_its_offset() -> None:
    (found,) = select(BULK_DATA, [record("bud?owner=a", offset=7, meta="ts=1")])
    assert found.action.id == "0-7"


@given(values=st.lists(st.one_of(st.none(), st.binary(max_size=40)), max_size=5), params=st.text(max_size=60))
def test_no_record_makes_select_fail(values: list[bytes | None], params: str) -> None:
    odd = [
        value for kind in ("geo", "offr", "bud") for value in (f"{kind} ts=1 {params}".encode(), f"{kind} x y".encode())
    ]
    records = [SourceRecord(0, at, None, value, ()) for at, value in enumerate([*values, *odd])]
    for rule in (GEO_UPDATES, MATCH_NOTIFIER, BULK_DATA):
        for each in select(rule, records):
            assert isinstance(msgspec.json.decode(each.action.arguments), dict)
