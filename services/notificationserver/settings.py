"""Settings of the notificationserver."""

import base64
import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from services.backbone.settings import (
    LOCAL_MONGO,
    LOCAL_REDIS,
    PLACEHOLDER,
    ChatProviderSettings,
    MongoUrl,
    OutgoingSettings,
    PageSettings,
    Password,
    Port,
    ProcessSettings,
    ProxySettings,
    RedisUrl,
    Seconds,
    ServiceUrl,
    TimeZone,
    is_loopback,
)

_VAPID_KEY_BYTES: Final = 32


def _mail_link(value: str) -> str:
    if value and re.fullmatch(r"(mailto:[^@\s]+@[^@\s]+|https://\S+)", value) is None:
        raise ValueError("must be a link such as mailto:operator@example.com")
    return value


def _vapid_key(value: SecretStr) -> SecretStr:
    # An error message must not contain the value. A key that was not generated yet has an error of its own.
    text = value.get_secret_value()
    if text == PLACEHOLDER:
        return value
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        key = b""
    if len(key) != _VAPID_KEY_BYTES:
        raise ValueError(
            "must be base64url of 32 bytes: remove it from .env and run `python3 tasks.py dotenv.generate`"
        )
    return value


class DeliverySettings(OutgoingSettings):
    """Settings of planning and delivering."""

    rate_limit_s: float = Field(300.0, ge=0.1, le=86_400.0, alias="RATE_LIMIT_SECONDS")
    """Seconds from a message to one side of a pair until that side gets the next message. The window does not slide."""
    per_host: int = Field(8, ge=1, le=1_000, alias="PER_HOST")
    """The most attempts at a time of one process to one host. A host that does not respond holds only these."""
    most_attempts: int = Field(512, ge=1, le=10_000, alias="NOTIFY_MOST_ATTEMPTS")
    """The most attempts at a time of one process to all hosts."""
    attempt_timeout_s: Seconds = Field(15.0, le=60.0, alias="NOTIFY_ATTEMPT_TIMEOUT_S")
    """Seconds that an attempt may take: name, connection, request and response."""
    lease_s: Seconds = Field(60.0, ge=1.0, le=600.0, alias="NOTIFY_LEASE_S")
    """Seconds after which work is taken from a process that has died. At least three attempts long: a delivery waits
    for a slot, and its result is written in a group."""
    poll_s: Seconds = Field(1.0, le=10.0, alias="NOTIFY_POLL_S")
    """Seconds between two checks for work of other processes and for retries that have become due."""
    keep_days: int = Field(30, ge=1, le=3_650, alias="NOTIFY_KEEP_DAYS")
    """Days that notifications, messages and deliveries are kept. An id acts once for this time."""
    language: Literal["de", "en"] = Field("en", alias="NOTIFY_LANGUAGE")
    """The language of a device whose language is neither de nor en."""
    time_zone: TimeZone = Field("Europe/Berlin", alias="NOTIFY_TIME_ZONE")
    """The time zone of the quiet hours of a device that has registered none."""
    log_messages: bool = Field(default=False, alias="NOTIFY_LOG_MESSAGES")
    """on: each message is logged too, by its id. For local use."""

    @model_validator(mode="after")
    def _lease_is_longer_than_attempts(self) -> Self:
        if self.lease_s < 3 * self.attempt_timeout_s:
            raise ValueError("NOTIFY_LEASE_S must be at least three times NOTIFY_ATTEMPT_TIMEOUT_S")
        return self


class ProviderSettings(ChatProviderSettings):
    """Settings of the providers that reach phones and browsers. Without them these channels are off."""

    vapid_key: Annotated[SecretStr, AfterValidator(_vapid_key)] | None = Field(None, alias="VAPID_PRIVATE_KEY")
    """The private key of Web Push (VAPID): base64url of 32 random bytes. Without VAPID_SUBJECT it is not
    used."""
    vapid_subject: Annotated[str, AfterValidator(_mail_link)] = Field("", alias="VAPID_SUBJECT")
    """How a push service reaches you, such as mailto:operator@example.com. Empty: no Web Push."""
    onesignal_app_id: str = Field("", pattern=r"^[A-Za-z0-9-]{0,64}$", alias="ONESIGNAL_APP_ID")
    """The app at OneSignal. Empty: no OneSignal."""
    onesignal_key: SecretStr = Field(SecretStr(""), alias="ONESIGNAL_API_KEY")
    """The API key of the app. Required with ONESIGNAL_APP_ID."""
    onesignal_url: ServiceUrl = Field("https://api.onesignal.com/notifications", alias="ONESIGNAL_URL")
    """The address that takes the messages for OneSignal."""

    @model_validator(mode="after")
    def _providers_are_complete(self) -> Self:
        if self.vapid_subject and self.vapid_key is None:
            raise ValueError("VAPID_PRIVATE_KEY is not set: it is required with VAPID_SUBJECT")
        if self.onesignal_app_id and not self.onesignal_key.get_secret_value():
            raise ValueError("ONESIGNAL_API_KEY is not set: it is required with ONESIGNAL_APP_ID")
        if self.sendbird_error:
            raise ValueError(self.sendbird_error)
        return self


class Settings(ProcessSettings, ProxySettings, PageSettings, DeliverySettings, ProviderSettings):
    """Settings of one notificationserver process."""

    host: str = Field("127.0.0.1", alias="NOTIFY_HOST")
    """The address that the public port listens on. Containers set 0.0.0.0. Any address but loopback needs a
    password."""
    port: Port = Field(5041, alias="NOTIFY_PORT")
    """The port of the API and the pages."""
    mongo_url: MongoUrl = Field(LOCAL_MONGO, alias="NOTIFY_MONGO_URL")
    """The replica set of mappings, messages and deliveries. It may have a password, like STORAGE_MONGO_URL."""
    database: str = Field("notify", pattern=r"^[A-Za-z0-9_-]{1,60}$", alias="NOTIFY_DATABASE")
    """The database of the notificationserver."""
    redis_url: RedisUrl = Field(LOCAL_REDIS, alias="NOTIFY_REDIS_URL")
    """The Redis of the rate limit. While it is away, messages are sent without the limit."""
    tracker_url: ServiceUrl = Field("http://127.0.0.1:5222", alias="NOTIFY_TRACKER_URL")
    """The tracker that gets the events `mtf` and `chm`."""
    storage_pages_url: str = Field("", pattern=r"^(https?://[^\s/]+)?$", alias="NOTIFY_STORAGE_PAGES_URL")
    """The origin of the pages of storage, such as https://store.example.com: the page of mappings links to them. Empty:
    no links."""
    user: str = Field("notify", alias="NOTIFY_USER")
    """The user name of services and operators at the notificationserver."""
    password: Password | None = Field(None, alias="NOTIFY_PASSWORD")
    """Their password, at least 12 characters. Empty: no password; the notificationserver then starts on loopback only,
    and storage sends without credentials."""
    app_user: str = Field("app", alias="NOTIFY_APP_USER")
    """The user name that all phones share. They may register what only concerns their own phone."""
    app_password: Password | None = Field(None, alias="NOTIFY_APP_PASSWORD")
    """The password that all phones share, at least 12 characters. Empty: phones have no access."""
    max_body_bytes: int = Field(262_144, ge=16_384, le=16_777_216, alias="NOTIFY_MAX_BODY_BYTES")
    """The largest body of a request in bytes."""

    @model_validator(mode="after")
    def _roles_differ(self) -> Self:
        if ":" in self.user or ":" in self.app_user:
            raise ValueError("NOTIFY_USER and NOTIFY_APP_USER must not contain a colon (RFC 7617)")
        if self.app_password is not None and (self.app_user == self.user or self.password is None):
            raise ValueError("NOTIFY_APP_PASSWORD needs NOTIFY_PASSWORD, and NOTIFY_APP_USER another name")
        return self

    @model_validator(mode="after")
    def _open_to_this_machine_only(self) -> Self:
        if self.password is None and not is_loopback(self.host):
            raise ValueError("NOTIFY_PASSWORD is not set: then NOTIFY_HOST must be a loopback address (local use)")
        return self
