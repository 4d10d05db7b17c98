import base64
from typing import Any

import pytest

from services.notificationserver.core.mappings import MAX_SUBSCRIPTIONS, DeviceMapping
from services.notificationserver.core.registrations import InvalidRegistration, apply, parse_registration
from services.notificationserver.core.signatures import format_key

POINT = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
NEW_KEY, OWN_KEY = format_key(b"n" * 32), format_key(b"o" * 32)


def registered(stored: DeviceMapping | None, now_ms: int = 1, **fields: Any) -> DeviceMapping:
    return apply(parse_registration({"device_id": "d1", **fields}), stored, now_ms=now_ms, new_key=NEW_KEY)


def subscription(number: int) -> dict[str, Any]:
    return {"endpoint": f"https://push.example/{number}", "keys": {"p256dh": POINT, "auth": AUTH}}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"device_id": ""}, "device_id"),
        ({"device_id": None}, "device_id"),
        ({"device_id": "a" * 257}, "device_id"),
        ({"device_id": {"$ne": None}}, "device_id"),
        ({"callback_url": "file:///etc/passwd"}, "callback_url"),
        ({"callback_url": "https://example.com/a b"}, "callback_url"),
        ({"callback_key": "whsec_c2hvcnQ="}, "callback_key"),
        ({"time_zone": "Mars/Base"}, "time_zone"),
        ({"quiet_from": "24:00"}, "quiet_from"),
        ({"quiet_to": "7:00"}, "quiet_to"),
        ({"locale": {"$ne": 1}}, "locale"),
        ({"onesignal_id": ["a"]}, "onesignal_id"),
        ({"webpush": {"endpoint": "https://push.example/a", "keys": {"p256dh": "AA", "auth": AUTH}}}, "webpush"),
        ({"webpush": {"endpoint": "ftp://push.example/a", "keys": {"p256dh": POINT, "auth": AUTH}}}, "webpush"),
        ({"webpush": "{"}, "webpush"),
        ({"webpush": [subscription(number) for number in range(MAX_SUBSCRIPTIONS + 1)]}, "webpush"),
        (
            {"webpush": {"endpoint": "https://push.example/a", "keys": {"p256dh": POINT + "=" * 9, "auth": AUTH}}},
            "webpush",
        ),
        ({"unset": "device_id"}, "unset"),
        ({"unset": {"locale": 1}}, "unset"),
        ({"unset": [1, 2]}, "unset"),
        ({"unset": ["locale", "other"]}, "unset"),
    ],
)
def test_wrong_field_is_named(fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(InvalidRegistration) as refused:
        parse_registration({"device_id": "d1", **fields})
    assert list(refused.value.errors) == [wrong]


def test_key_is_not_in_its_error() -> None:
    key = "whsec_" + base64.b64encode(b"secret").decode()
    with pytest.raises(InvalidRegistration) as refused:
        parse_registration({"device_id": "d1", "callback_key": key})
    assert key not in str(refused.value)


def test_blank_value_changes_nothing_and_null_unsets() -> None:
    mapping = registered(None, locale="de", onesignal_id="p1")
    mapping = registered(mapping, locale="", onesignal_id=None)
    assert (mapping.locale, mapping.onesignal_id) == ("de", "")
    assert registered(mapping, unset="locale").locale == ""


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({"callback_url": "https://example.com/"}, "callback_url"),
        ({"callback_url": None}, "callback_url"),
        ({"callback_key": "not a key"}, "callback_key"),
        ({"sendbird_id": "anna"}, "sendbird_id"),
        ({"webpush": subscription(1)}, "webpush"),
        ({"unset": "callback_url, onesignal_id"}, "callback_url"),
    ],
)
def test_phone_cannot_set_or_unset_a_callback_and_the_rest_is_taken(fields: dict[str, Any], ignored: str) -> None:
    found = parse_registration({"device_id": "d1", "locale": "de", "time_zone": "", **fields}, is_app=True)
    assert found.values == {"locale": "de"}
    assert found.unset <= {"onesignal_id"}
    assert found.ignored == (ignored,)


def test_blank_fields_of_a_phone_are_not_named() -> None:
    old_app = {"device_id": "d1", "onesignal_id": "p1", "sendbird_id": "", "callback_url": ""}
    assert parse_registration(old_app, is_app=True).ignored == ()
    assert parse_registration(old_app | {"sendbird_id": "anna"}).ignored == ()


def test_callback_gets_a_new_key_unless_it_has_one() -> None:
    url = "https://example.com/"
    assert registered(None, callback_url=url).callback_key == NEW_KEY
    assert registered(None, callback_url=url, callback_key=OWN_KEY).callback_key == OWN_KEY
    assert registered(registered(None, callback_key=OWN_KEY), callback_url=url).callback_key == OWN_KEY
    assert registered(None, locale="de").callback_key == ""


def test_replaced_key_is_kept_as_the_previous_one() -> None:
    mapping = registered(registered(None, callback_key=OWN_KEY), now_ms=77, callback_key=NEW_KEY)
    assert (mapping.callback_key, mapping.previous_callback_key, mapping.key_changed_ms) == (NEW_KEY, OWN_KEY, 77)
    assert registered(mapping, now_ms=99, callback_key=NEW_KEY).key_changed_ms == 77


def test_subscriptions_of_a_device_are_added_and_the_oldest_go_first() -> None:
    mapping: DeviceMapping | None = None
    for number in range(MAX_SUBSCRIPTIONS + 2):
        mapping = registered(mapping, webpush=subscription(number))
    mapping = registered(mapping, webpush=subscription(5))  # known
    assert [each.endpoint[-2:].strip("/") for each in mapping.webpush] == [str(n) for n in range(2, 12)]
    assert registered(mapping, webpush=None).webpush == ()


def test_form_holds_a_subscription_as_json() -> None:
    text = f'{{"endpoint": "https://push.example/1", "keys": {{"p256dh": "{POINT}", "auth": "{AUTH}"}}}}'
    assert registered(None, webpush=text).webpush[0].endpoint == "https://push.example/1"


def test_unknown_fields_are_named_and_change_nothing() -> None:
    registration = parse_registration({"device_id": "d1", "callbackurl": "http://x", "locale": "de", "redirect": "1"})
    assert (registration.values, registration.ignored) == ({"locale": "de"}, ("callbackurl",))
