"""Settings of storage."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from services.backbone.settings import (
    LOCAL_MONGO,
    AssetsUrl,
    EnvSettings,
    MapSettings,
    MongoUrl,
    PageSettings,
    Password,
    Port,
    ProcessSettings,
    ProxySettings,
    Seconds,
    ServiceUrl,
    is_loopback,
)


class MatcherSettings(EnvSettings):
    """Settings of matching and of reporting matches."""

    match_grace_s: Seconds = Field(5.0, alias="MATCH_GRACE_S")
    """Seconds that a due object waits for the event of its change, before a matcher takes it without the event."""
    match_lease_s: Seconds = Field(10.0, ge=2.0, le=600.0, alias="MATCH_LEASE_S")
    """Seconds after which an object or an encounter is taken from a process that has died. Longer than a slice of 500
    candidates takes."""
    match_slots: int = Field(3, ge=2, le=32, alias="MATCH_SLOTS")
    """The number of objects that a process matches concurrently. One slot takes single changes only, so that no import
    and no fan-out delays them."""
    match_poll_s: Seconds = Field(0.5, le=10.0, alias="MATCH_POLL_S")
    """Seconds between two looks for due objects while there are none."""
    leave_s: Seconds = Field(120.0, alias="LEAVE_S")
    """Seconds that the fixes outside of a moving object must span, before it leaves a pair."""
    max_accuracy_m: float = Field(500.0, ge=1.0, le=100_000.0, alias="MAX_ACCURACY_M")
    """The largest accuracy radius in metres of a location fix that is matched."""


class Settings(ProcessSettings, ProxySettings, PageSettings, MapSettings, MatcherSettings):
    """Settings of one storage process."""

    host: str = Field("127.0.0.1", alias="STORAGE_HOST")
    """The address that the public port listens on. Containers set 0.0.0.0. Any address but loopback needs a
    password."""
    port: Port = Field(5011, alias="STORAGE_PORT")
    """The port of the API and the pages."""
    mongo_url: MongoUrl = Field(LOCAL_MONGO, alias="STORAGE_MONGO_URL")
    """The replica set of the objects. It may have a password: mongodb://user:password@host:27017/?replicaSet=rs0."""
    database: str = Field("store", pattern=r"^[A-Za-z0-9_-]{1,60}$", alias="STORAGE_DATABASE")
    """The database of the objects."""
    tracker_url: ServiceUrl = Field("http://127.0.0.1:5222", alias="STORAGE_TRACKER_URL")
    """The tracker that gets the events of changes."""
    notify_url: ServiceUrl = Field("http://127.0.0.1:5041", alias="STORAGE_NOTIFY_URL")
    """The notificationserver that gets the matches."""
    notify_user: str = Field("notify", alias="NOTIFY_USER")
    """The user name at the notificationserver."""
    notify_password: SecretStr | None = Field(None, alias="NOTIFY_PASSWORD")
    """The password at the notificationserver. Empty: requests without credentials, for local use."""
    user: str = Field("storage", alias="STORAGE_USER")
    """The user name of services and operators. They may do all."""
    password: Password | None = Field(None, alias="STORAGE_PASSWORD")
    """The password of services and operators, at least 12 characters. Empty: no password; storage then starts on
    loopback only, and everybody there may do all."""
    app_user: str = Field("app", alias="STORAGE_APP_USER")
    """The user name that all phones share. They may read and create. Changes need the token of the device."""
    app_password: Password | None = Field(None, alias="STORAGE_APP_PASSWORD")
    """The password that all phones share, at least 12 characters. Empty: phones have no access."""
    images_url: AssetsUrl = Field("", alias="STORAGE_IMAGES_URL")
    """The origin of the host that serves the pictures of objects to browsers, such as https://www1.example.com. Empty:
    the pages show the paths of pictures only."""
    max_body_bytes: int = Field(1_048_576, ge=16_384, le=16_777_216, alias="STORAGE_MAX_BODY_BYTES")
    """The largest body of a request in bytes, and the largest object of a bulk request."""
    max_bulk_bytes: int = Field(268_435_456, ge=1_048_576, alias="STORAGE_MAX_BULK_BYTES")
    """The largest body of a bulk request in bytes. It is read as a stream, so it needs no memory."""
    max_bulk_objects: int = Field(200_000, ge=1, le=1_000_000, alias="STORAGE_MAX_BULK_OBJECTS")
    """The most objects of a bulk request. The results take about 100 bytes of memory for each object."""
    body_timeout_s: Seconds = Field(60.0, alias="STORAGE_BODY_TIMEOUT_S")
    """Seconds that a client may take to send a part of a body."""
    event_lease_s: Seconds = Field(30.0, ge=10.0, alias="STORAGE_EVENT_LEASE_S")
    """Seconds after which an owed event is taken from a process that has died. Longer than all attempts to send it."""
    event_poll_s: Seconds = Field(1.0, le=10.0, alias="STORAGE_EVENT_POLL_S")
    """Seconds between two looks for events that other processes owe."""

    @model_validator(mode="after")
    def _roles_differ(self) -> Self:
        if ":" in self.user or ":" in self.app_user:
            raise ValueError("STORAGE_USER and STORAGE_APP_USER must not contain a colon (RFC 7617)")
        if self.app_password is not None and self.app_user == self.user:
            raise ValueError("STORAGE_APP_USER and STORAGE_USER must differ")
        return self

    @model_validator(mode="after")
    def _open_to_this_machine_only(self) -> Self:
        if self.password is None and not is_loopback(self.host):
            raise ValueError("STORAGE_PASSWORD is not set: then STORAGE_HOST must be a loopback address (local use)")
        return self
