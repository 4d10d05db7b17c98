"""kafidx's settings: the access control, and the bound of every buffer."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from services.backbone.settings import (
    CommaSeparated,
    CountersRedisSettings,
    KafkaSettings,
    PageSettings,
    Password,
    Port,
    ProcessSettings,
    ProxySettings,
    Seconds,
    is_loopback,
)


class Settings(ProcessSettings, CountersRedisSettings, KafkaSettings, ProxySettings, PageSettings):
    """Settings of one kafidx process."""

    host: str = Field("127.0.0.1", alias="KAFIDX_HOST")
    """The address that kafidx listens on. Containers set 0.0.0.0. Any address but loopback needs a password."""
    port: Port = Field(5031, alias="KAFIDX_PORT")
    """The port of kafidx' pages."""
    user: str = Field("kafidx", alias="KAFIDX_USER")
    """The user name of HTTP Basic."""
    password: Password | None = Field(None, alias="KAFIDX_PASSWORD")
    """The password of HTTP Basic, at least 12 characters. Empty: no password; kafidx then starts on loopback only."""
    max_subscribers: int = Field(50, ge=1, le=1000, alias="KAFIDX_MAX_SUBSCRIBERS")
    """The most live views that may be open at once."""
    queue_events: int = Field(10_000, ge=10, alias="KAFIDX_QUEUE_EVENTS")
    """The most rows that wait for one live view: two seconds at 5,000 events a second. Beyond it the oldest are dropped
    and counted."""
    queue_bytes: int = Field(8_388_608, ge=65_536, alias="KAFIDX_QUEUE_BYTES")
    """The most bytes that wait for one live view. It bounds the memory of a client that never reads."""
    recent_bytes: int = Field(4_194_304, ge=0, alias="KAFIDX_RECENT_BYTES")
    """Bytes of the latest events that are kept. A live view that reconnects soon continues from them, without Kafka."""
    stuck_s: Seconds = Field(600.0, alias="KAFIDX_STUCK_S")
    """Seconds that a client may read nothing before its socket is closed."""
    stale_s: Seconds = Field(60.0, alias="KAFIDX_STALE_S")
    """Seconds without a counted event, while events wait, after which a consumer is shown as stale."""

    trackers: Annotated[tuple[str, ...], CommaSeparated] = Field((), alias="KAFIDX_TRACKERS")
    """URLs of the internal ports of the trackers (http://host:9464), separated by commas. The search for an event asks
    them. A host name with several addresses is asked at each of them. Empty: the search covers Kafka and the consumers
    only."""

    @field_validator("trackers")
    @classmethod
    def _trackers_are_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            try:
                parts = urlsplit(url)
                is_valid = parts.scheme == "http" and bool(parts.hostname) and parts.port is not None
            except ValueError:
                is_valid = False
            if not is_valid or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
                raise ValueError(f"{url!r} is not the URL of an internal port. Write it like http://tracker:9464")
        return tuple(url.rstrip("/") for url in value)

    @model_validator(mode="after")
    def _open_to_this_machine_only(self) -> Self:
        if self.password is None and not is_loopback(self.host):
            raise ValueError("KAFIDX_PASSWORD is not set: then KAFIDX_HOST must be a loopback address (local use)")
        if ":" in self.user:
            raise ValueError("KAFIDX_USER must not contain a colon (RFC 7617)")
        return self
