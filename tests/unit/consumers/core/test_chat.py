import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumers.core.actions import Selected, SourceRecord, select
from services.consumers.core.chat import CHATBOT
from services.consumers.core.chat_commands import MACHINES
from services.notificationserver.core.notifications import ChatNotice, Notification, owed_event

OFFER = "5a0000000000000000000001"
SEARCH = "5a0000000000000000000002"
MESSAGE: dict[str, object] = {
    "churl": "sendbird_group_channel_123_abc",
    "chnam": f"{OFFER}_{SEARCH}",
    "snder": "anna",
    "mbers": ["anna", "MeetupCom"],
    "msg": "When is it?",
}


def selected(oldest_ms: int = 0, /, **changed: object) -> list[Selected]:
    query = urlencode({**MESSAGE, **changed}, doseq=True)
    record = SourceRecord(0, 1, b"key", f"chm id=1&ts=1000 {query}".encode(), ())
    return select(CHATBOT, [record], oldest_ms=oldest_ms)


def test_message_to_a_machine_needs_a_reply() -> None:
    (found,) = selected()
    assert not found.invalid
    assert json.loads(found.action.arguments) == {
        "owner": "MeetupCom",
        "channel_url": "sendbird_group_channel_123_abc",
        "ids": [OFFER, SEARCH],
        "message": "When is it?",
    }


@pytest.mark.parametrize("name", [OFFER, f"{OFFER}_undefined", f"{OFFER.upper()}_{OFFER}", f"x_{OFFER}_"])
def test_name_of_a_channel_may_have_one_id(name: str) -> None:
    (found,) = selected(chnam=name)
    assert json.loads(found.action.arguments)["ids"] == [OFFER]


@pytest.mark.parametrize(
    ("sender", "members"),
    [
        ("anna", ["anna", "ben"]),
        ("anna", ["anna"]),
        ("MeetupCom", ["anna", "MeetupCom"]),  # its own reply
        ("MeetupCom", ["GeonamesOrg", "MeetupCom"]),  # two machines would never stop
        ("anna", ["anna", "meetupcom"]),
    ],
)
def test_message_without_a_machine_as_recipient_needs_no_action(sender: str, members: list[str]) -> None:
    assert selected(snder=sender, mbers=members) == []


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"chnam": ""}, "chnam"),
        ({"chnam": "undefined_undefined"}, "chnam"),
        ({"chnam": "a" * 1001}, "chnam"),
        ({"churl": ""}, "churl"),
        ({"churl": "a/../../users"}, "churl"),
        ({"churl": "."}, "churl"),
        ({"churl": ".."}, "churl"),
        ({"churl": "c" * 257}, "churl"),
        ({"churl": "☕"}, "churl"),
        ({"msg": "m" * 20_001}, "msg"),
        ({"mbers": ["MeetupCom"] * 1001}, "mbers"),
    ],
)
def test_wrong_value_is_invalid(changed: dict[str, object], name: str) -> None:
    (found,) = selected(**changed)
    assert found.invalid.startswith(f"{name}: ")


def test_message_that_is_old_when_it_is_taken_needs_no_action() -> None:
    assert len(selected(1000)) == 1
    assert selected(1001) == []


@given(st.text(max_size=50), st.text(max_size=50), st.lists(st.sampled_from([*MACHINES, "anna", "ben"]), max_size=4))
def test_any_message_is_taken_passed_or_invalid(name: str, message: str, members: list[str]) -> None:
    for found in selected(chnam=name, msg=message, mbers=members):
        assert found.invalid or json.loads(found.action.arguments)["owner"] in members


def test_event_of_the_notificationserver_is_read() -> None:
    notice = ChatNotice(f"{OFFER}_{SEARCH}", "channel-1", "anna", ("anna", "MeetupCom"), "When & where?")
    owed = owed_event(Notification("chat.1", 1000, notice))
    assert owed is not None
    record = SourceRecord(0, 1, b"key", f"{owed.type} id=1&ts=1000 {urlencode(owed.params, doseq=True)}".encode(), ())
    (found,) = select(CHATBOT, [record])
    assert (found.invalid, json.loads(found.action.arguments)["message"]) == ("", "When & where?")
