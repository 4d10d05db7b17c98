import json
from typing import Any
from urllib.parse import urlencode

import pytest

from services.notificationserver.core.notifications import (
    ChatNotice,
    InvalidNotification,
    MatchedObject,
    MatchNotice,
    Notification,
    TextNotice,
    UnknownApp,
    digest_of,
    from_document,
    owed_event,
    parse_chat,
    parse_match,
    to_document,
)

SIDE: dict[str, Any] = {"id": "o1", "device_id": "d1", "title": "Bread", "lat": 52.5, "lng": 13.4, "radi": 500}
MATCH = MatchNotice(MatchedObject(**SIDE), MatchedObject(**SIDE | {"id": "s1", "device_id": "d2"}))


def body(**changed: Any) -> bytes:
    sent = {"id": "s1.o1.1", "category": "match_found", "offer": SIDE, "search": SIDE | {"id": "s1", "device_id": "d2"}}
    return json.dumps(sent | changed).encode()


def test_id_of_the_body_counts_before_the_header() -> None:
    assert parse_match(body(), header_id="header") == ("s1.o1.1", MATCH)
    assert parse_match(body(id=""), header_id="header")[0] == "header"
    assert parse_match(body(id=""))[0] == ""


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"category": "other"}, "category"),
        ({"id": "a b"}, "id"),
        ({"id": "a~b"}, "id"),
        ({"id": "a\nb"}, "id"),
        ({"id": "a" * 201}, "id"),
        ({"id": {"$ne": 1}}, "$.id"),
        ({"offer": SIDE | {"lat": 91}}, "$.offer.lat"),
        ({"offer": SIDE | {"lat": "52"}}, "$.offer.lat"),
        ({"offer": SIDE | {"device_id": ""}}, "$.offer.device_id"),
        ({"offer": SIDE | {"radi": -1}}, "$.offer.radi"),
        ({"search": None}, "$.search"),
    ],
)
def test_wrong_field_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidNotification) as refused:
        parse_match(body(**changed))
    assert field in str(refused.value)


@pytest.mark.parametrize("malformed", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_malformed_body_is_refused(malformed: bytes) -> None:
    with pytest.raises(InvalidNotification):
        parse_match(malformed)


def test_digest_is_that_of_the_content() -> None:
    first, again = parse_match(body())[1], parse_match(body(id="other"))[1]
    other = MatchNotice(first.search, first.offer)
    assert digest_of(first) == digest_of(again) != digest_of(other)


@pytest.mark.parametrize(
    "notice", [MATCH, ChatNotice("Bread", "url", "anna", ("anna", "ben"), "Hi"), TextNotice("d1", "Hi", "")]
)
def test_document_holds_a_notification(notice: Any) -> None:
    notification = Notification("n1", 7, notice)
    assert from_document({**to_document(notification), "due_at": 7}) == notification


def test_match_owes_an_event_with_both_sides() -> None:
    event = owed_event(Notification("s1.o1.1", 7, MATCH))
    assert event is not None
    assert (event.type, event.id) == ("mtf", "s1.o1.1.mtf")
    assert event.params == {
        "oid": "o1",
        "olat": "52.5",
        "olng": "13.4",
        "oradi": "500",
        "sid": "s1",
        "slat": "52.5",
        "slng": "13.4",
        "sradi": "500",
    }


def test_event_id_is_short_enough_for_the_tracker() -> None:
    event = owed_event(Notification("a" * 200, 7, MATCH))
    assert event is not None
    assert len(event.id) <= 128


def test_free_text_owes_no_event() -> None:
    assert owed_event(Notification("n1", 7, TextNotice("d1", "Hi"))) is None


def chat(**changed: Any) -> bytes:
    sent = {
        "app_id": "ours",
        "category": "group_channel:message_send",
        "sender": {"user_id": "anna"},
        "members": [{"user_id": "anna"}, {"user_id": "ben"}, {"user_id": "ben"}],
        "channel": {"name": "Bread", "channel_url": "sendbird_1"},
        "payload": {"message_id": 7, "message": "Hi"},
    }
    return json.dumps(sent | changed).encode()


def test_recipients_of_a_chat_message_are_the_members_but_the_sender() -> None:
    found = parse_chat(chat(), app_id="ours")
    assert found is not None
    assert found[1].recipients == ("ben",)


def test_message_of_the_provider_keeps_its_id_when_it_is_sent_again() -> None:
    first, again = parse_chat(chat(), app_id="ours"), parse_chat(chat(extra=1), app_id="ours")
    other = parse_chat(chat(payload={"message_id": 8, "message": "Hi"}), app_id="ours")
    assert first is not None
    assert again is not None
    assert other is not None
    assert first[0] == again[0] != other[0]


def test_webhook_of_another_category_is_ignored_and_of_another_app_refused() -> None:
    assert parse_chat(b'{"app_id": "ours", "category": "group_channel:join"}', app_id="ours") is None
    with pytest.raises(UnknownApp):
        parse_chat(chat(), app_id="other")
    with pytest.raises(InvalidNotification):
        parse_chat(chat(members="anna"), app_id="ours")


def test_event_of_a_large_chat_fits_the_tracker() -> None:
    members = tuple("ü" * 115 + str(number) for number in range(950))
    owed = owed_event(Notification("c.1", 1, ChatNotice("n", "u", "anna", members, "Hi" * 10_000)))
    assert owed is not None
    assert 50 < len(owed.params["mbers"]) < 950
    assert len(urlencode(owed.params, doseq=True)) < 100_000
