"""Registrations: what a client sends for a device, and what becomes of its mapping.

A blank value changes nothing, as in the old system, whose clients send all fields. To remove a value, send null in
JSON, or name the field in `unset`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from services.notificationserver.core.mappings import MAX_SUBSCRIPTIONS, DeviceMapping, Subscription
from services.notificationserver.core.quiet import is_zone
from services.notificationserver.core.signatures import InvalidKey, parse_key
from services.notificationserver.core.web_push import (
    AUTH_BYTES,
    POINT_BYTES,
    InvalidSubscription,
    check_point,
    decode_key,
)

MAX_DEVICE_CHARACTERS: Final = 256
MAX_URL_CHARACTERS: Final = 2_048
FIELDS: Final = (
    *("onesignal_id", "sendbird_id", "locale", "callback_url", "callback_key"),
    *("time_zone", "quiet_from", "quiet_to", "webpush"),
)
APP_FIELDS: Final = frozenset({"onesignal_id", "locale", "time_zone", "quiet_from", "quiet_to"})
"""What phones may register. They share one password, so a callback or a chat id of theirs could be anybody's."""

_OTHER_FIELDS: Final = ("device_id", "unset", "redirect")
_MOST_UNKNOWN: Final = 10
_SHOWN_NAME_CHARACTERS: Final = 50

_PATTERNS: Final = {
    "onesignal_id": (re.compile(r"[A-Za-z0-9-]{1,64}"), "must be an id of OneSignal"),
    "sendbird_id": (re.compile(r"[^\x00-\x1f]{1,256}"), "must be an id of at most 256 characters"),
    "locale": (re.compile(r"[A-Za-z0-9_.@-]{1,35}"), "must be a locale such as de-AT"),
    "callback_url": (
        re.compile(rf"(?i:https?)://[^\x00-\x20]{{1,{MAX_URL_CHARACTERS}}}"),
        "must be an http or https URL",
    ),
    "quiet_from": (re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]"), "must be a time such as 22:00"),
    "quiet_to": (re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]"), "must be a time such as 07:00"),
}


class InvalidRegistration(ValueError):
    """Fields of a registration are wrong. `errors` has a reason for each field."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {reason}" for field, reason in errors.items()))
        self.errors = dict(errors)


class Registration(msgspec.Struct, frozen=True):
    """The values that a client sets, and the fields that it unsets."""

    device_id: str
    values: dict[str, Any]
    unset: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ()
    """The fields that it sends and may not change, and unknown ones. Old clients send more fields than there are."""


class _Keys(msgspec.Struct, frozen=True):
    p256dh: str
    auth: str


class _BrowserSubscription(msgspec.Struct, frozen=True):
    endpoint: str
    keys: _Keys


def parse_registration(sent: Mapping[str, Any], *, is_app: bool = False) -> Registration:
    """Return the registration of a form or a JSON object. Raises InvalidRegistration with all errors.

    `is_app`: fields that phones may not change are ignored, because the old app sends all fields.
    """
    errors: dict[str, str] = {}
    device_id = sent.get("device_id")
    if not isinstance(device_id, str) or not 1 <= len(device_id) <= MAX_DEVICE_CHARACTERS or "\0" in device_id:
        errors["device_id"] = f"must be a text of 1 to {MAX_DEVICE_CHARACTERS} characters"
    unset = {name for name in FIELDS if name in sent and sent[name] is None} | _names(sent.get("unset"), errors)
    filled = {name: value for name in FIELDS if (value := sent.get(name)) is not None and value not in ("", [])}
    ignored = (unset | filled.keys()) - APP_FIELDS if is_app else set()
    unknown = sorted(name[:_SHOWN_NAME_CHARACTERS] for name in sent.keys() - {*FIELDS, *_OTHER_FIELDS})
    values: dict[str, Any] = {}
    for name, value in filled.items():
        if name in ignored:
            continue
        try:
            values[name] = _parse(name, value)
        except ValueError as error:
            errors[name] = str(error)
    if errors:
        raise InvalidRegistration(errors)
    assert isinstance(device_id, str)  # noqa: S101 - for mypy
    return Registration(
        device_id, values, frozenset(unset - values.keys() - ignored), (*sorted(ignored), *unknown[:_MOST_UNKNOWN])
    )


def apply(registration: Registration, stored: DeviceMapping | None, *, now_ms: int, new_key: str) -> DeviceMapping:
    """Return the mapping of a device after a registration. `new_key` is used if its callback has none."""
    changes: dict[str, Any] = {name: _EMPTY.get(name, "") for name in registration.unset} | registration.values
    mapping = stored or DeviceMapping(device_id=registration.device_id, created_ms=now_ms, updated_ms=now_ms)
    if "webpush" in registration.values:
        # A browser adds its subscription. The oldest ones go first.
        added = {each.endpoint: each for each in (*mapping.webpush, *registration.values["webpush"])}
        changes["webpush"] = tuple(added.values())[-MAX_SUBSCRIPTIONS:]
    key = changes.get("callback_key", mapping.callback_key)
    if changes.get("callback_url", mapping.callback_url) and not key:
        key = changes["callback_key"] = new_key
    if key != mapping.callback_key and mapping.callback_key:
        changes |= {"previous_callback_key": mapping.callback_key, "key_changed_ms": now_ms}
    if registration.values.get("callback_url"):
        changes |= {"callback_state": "", "callback_failing_since_ms": None}
    return msgspec.structs.replace(mapping, **changes, updated_ms=now_ms)


_EMPTY: Final[dict[str, Any]] = {"webpush": ()}


def _names(sent: object, errors: dict[str, str]) -> set[str]:
    names = sent.split(",") if isinstance(sent, str) else [] if sent is None else sent
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        errors["unset"] = "must be names of fields, separated by commas"
        return set()
    wanted = {name.strip() for name in names if name.strip()}
    if unknown := wanted - set(FIELDS):
        errors["unset"] = f"{', '.join(sorted(unknown))[:100]} cannot be unset"
    return wanted & set(FIELDS)


def _parse(name: str, value: object) -> object:
    if name == "webpush":
        return _subscriptions(value)
    if not isinstance(value, str):
        raise ValueError("must be a text")  # noqa: TRY004 - the caller reports all errors alike
    if name == "time_zone":
        if not is_zone(value):
            raise ValueError("must be a time zone such as Europe/Berlin")
        return value
    if name == "callback_key":
        try:
            parse_key(value)
        except InvalidKey as error:
            raise ValueError(str(error)) from None
        return value
    pattern, reason = _PATTERNS[name]
    if pattern.fullmatch(value) is None:
        raise ValueError(reason)
    return value


def _subscriptions(value: object) -> tuple[Subscription, ...]:
    try:
        decoded = msgspec.json.decode(value) if isinstance(value, str) else value
        sent = msgspec.convert(decoded if isinstance(decoded, list) else [decoded], list[_BrowserSubscription])
        if len(sent) > MAX_SUBSCRIPTIONS:
            raise ValueError(f"has more than {MAX_SUBSCRIPTIONS} subscriptions")
        for each in sent:
            if _PATTERNS["callback_url"][0].fullmatch(each.endpoint) is None:
                raise ValueError("an endpoint is not an http or https URL")
            check_point(decode_key(each.keys.p256dh, length=POINT_BYTES))
            decode_key(each.keys.auth, length=AUTH_BYTES)
    except (msgspec.MsgspecError, InvalidSubscription) as error:
        raise ValueError(f"must be subscriptions of browsers: {error}") from None
    return tuple(Subscription(each.endpoint, each.keys.p256dh, each.keys.auth) for each in sent)
