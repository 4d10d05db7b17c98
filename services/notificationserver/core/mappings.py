"""DeviceMapping: a device, the channels that reach it, and its preferences."""

import datetime as dt
import hashlib
from typing import Any, Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec

from services.notificationserver.core.outcomes import Outcome
from services.notificationserver.core.signatures import PREVIOUS_KEY_MS

EndpointState = Literal["", "retired", "paused"]
"""retired: the receiver responded 410. paused: all attempts of five days failed. Both end with a registration."""

PAUSE_AFTER_MS: Final = 5 * 86_400_000
MAX_SUBSCRIPTIONS: Final = 10


class Subscription(msgspec.Struct, frozen=True):
    """A Web Push subscription of a browser."""

    endpoint: str
    p256dh: str
    auth: str

    @property
    def id(self) -> str:
        """A short name that does not reveal the endpoint, which is a secret."""
        return hashlib.sha256(self.endpoint.encode()).hexdigest()[:16]


class DeviceMapping(msgspec.Struct, frozen=True):
    """What is registered for a device."""

    device_id: str = msgspec.field(name="_id")
    created_ms: int
    updated_ms: int
    onesignal_id: str = ""
    sendbird_id: str = ""
    locale: str = ""
    callback_url: str = ""
    callback_key: str = ""
    previous_callback_key: str = ""
    key_changed_ms: int = 0
    callback_state: EndpointState = ""
    callback_failing_since_ms: int | None = None
    """The first failure since the last success; None after a success."""
    time_zone: str = ""
    quiet_from: str = ""
    quiet_to: str = ""
    webpush: tuple[Subscription, ...] = ()
    revision: int = 0
    """Each change adds 1, so that a change never overwrites another one."""

    @property
    def quiet_hours(self) -> tuple[dt.time, dt.time] | None:
        """Start and end of the quiet hours; None without them."""
        if not self.quiet_from or not self.quiet_to or self.quiet_from == self.quiet_to:
            return None
        return dt.time.fromisoformat(self.quiet_from), dt.time.fromisoformat(self.quiet_to)

    def signing_keys(self, now_ms: int) -> tuple[str, ...]:
        """Return the keys that sign a callback: the current one, and the previous one for a day after a change."""
        keys = [self.callback_key] if self.callback_key else []
        if self.previous_callback_key and now_ms < self.key_changed_ms + PREVIOUS_KEY_MS:
            keys.append(self.previous_callback_key)
        return tuple(keys)

    def subscription(self, subscription_id: str) -> Subscription | None:
        """Return a subscription by its id."""
        return next((each for each in self.webpush if each.id == subscription_id), None)

    @property
    def ref(self) -> str:
        """A name for addresses of pages: the device id may be a mail address."""
        return ref_of(self.device_id)

    def to_document(self) -> dict[str, Any]:
        """Return the document of this mapping."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document | {"ref": self.ref}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Return the mapping of a document. Fields of newer versions are ignored."""
        return msgspec.convert(document, cls, strict=False)


class ChannelTarget(NamedTuple):
    """A channel of a device, and the host that its attempts go to."""

    channel: str
    """log, callback, onesignal, or webpush.<id of the subscription>."""
    host: str
    """Host and port. Empty for the log."""


class EnabledChannels(NamedTuple):
    """The channels that this service can use beside callbacks."""

    log: bool = False
    webpush: bool = False
    onesignal_host: str = ""


def targets_of(mapping: DeviceMapping | None, enabled: EnabledChannels) -> list[ChannelTarget]:
    """Return the channels that a message to a device goes through."""
    targets = [ChannelTarget("log", "")] if enabled.log else []
    if mapping is None:
        return targets
    if mapping.callback_url and not mapping.callback_state:
        targets.append(ChannelTarget("callback", host_of(mapping.callback_url)))
    if enabled.webpush:
        targets += [ChannelTarget(f"webpush.{each.id}", host_of(each.endpoint)) for each in mapping.webpush]
    if mapping.onesignal_id and enabled.onesignal_host:
        targets.append(ChannelTarget("onesignal", enabled.onesignal_host))
    return targets


def current_host(mapping: DeviceMapping | None, target: ChannelTarget) -> str:
    """Return the host of a target now: that of a callback changes with its URL."""
    if mapping is None or target.channel != "callback" or not mapping.callback_url:
        return target.host
    return host_of(mapping.callback_url)


def ref_of(device_id: str) -> str:
    """Return the name of a device in addresses of pages."""
    return hashlib.sha256(device_id.encode()).hexdigest()[:24]


def host_of(url: str) -> str:
    """Return host and port of a URL."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.hostname}:{port}"


def callback_changes(mapping: DeviceMapping, outcome: Outcome, *, now_ms: int) -> dict[str, Any]:
    """Return the fields of a mapping that a failed attempt at its callback changes."""
    if outcome.result == "retire":
        return {"callback_state": "retired"}
    if outcome.result != "retry":
        return {}  # no attempt was made, or the error was one of this service
    if mapping.callback_failing_since_ms is None:
        return {"callback_failing_since_ms": now_ms}
    if now_ms - mapping.callback_failing_since_ms > PAUSE_AFTER_MS:
        return {"callback_state": "paused"}
    return {}
