"""kafidx's settings: who may look, and the bound of every buffer."""

from typing import Final, Self

from pydantic import Field, SecretStr, model_validator

from services.backbone.settings import (
    LOCAL_REDIS,
    KafkaSettings,
    Networks,
    Port,
    ProcessSettings,
    RedisUrl,
    Seconds,
    is_loopback,
)

LEAST_PASSWORD_CHARACTERS: Final = 12
"""So that guessing a random one takes more than a lifetime, also from many addresses at once."""


class Settings(ProcessSettings, KafkaSettings):
    """Settings of one kafidx process."""

    host: str = Field("127.0.0.1", alias="KAFIDX_HOST")
    """Containers set 0.0.0.0; a process on a developer's machine is nobody else's business."""
    port: Port = Field(5031, alias="KAFIDX_PORT")
    user: str = Field("kafidx", alias="KAFIDX_USER")
    password: SecretStr | None = Field(None, alias="KAFIDX_PASSWORD")
    """At least 12 characters. None: whoever reaches the port may look, so it must be on loopback."""
    trusted_proxies: Networks = Field((), alias="TRUSTED_PROXIES")
    """Networks whose X-Forwarded-For is believed. Wrong passwords delay the address that sent them: behind a proxy
    that is not named here all clients have the proxy's."""
    redis_url: RedisUrl = Field(LOCAL_REDIS, alias="COUNTERS_REDIS_URL")
    """The Redis of the counters; only read."""

    max_subscribers: int = Field(50, ge=1, le=1000, alias="KAFIDX_MAX_SUBSCRIBERS")
    queue_events: int = Field(10_000, ge=10, alias="KAFIDX_QUEUE_EVENTS")
    """Rows that may wait for one watcher: two seconds at 5,000 events a second."""
    queue_bytes: int = Field(8_388_608, ge=65_536, alias="KAFIDX_QUEUE_BYTES")
    """The same in bytes: with it, what a watcher that never reads costs is known whatever the events hold."""
    recent_bytes: int = Field(4_194_304, ge=0, alias="KAFIDX_RECENT_BYTES")
    """The latest events, kept for watchers that come back and for those that have caught up with the past."""
    stuck_s: Seconds = Field(600.0, alias="KAFIDX_STUCK_S")
    """A watcher that takes nothing for so long is closed: somebody has left the lid of a laptop half shut."""
    stale_s: Seconds = Field(60.0, alias="KAFIDX_STALE_S")

    @model_validator(mode="after")
    def _password_is_long(self) -> Self:
        if self.password is not None and len(self.password.get_secret_value()) < LEAST_PASSWORD_CHARACTERS:
            raise ValueError(
                f"KAFIDX_PASSWORD has fewer than {LEAST_PASSWORD_CHARACTERS} characters: choose a longer one, or remove"
                " it from .env and run `python3 tasks.py dotenv.generate --yes`"
            )
        return self

    @model_validator(mode="after")
    def _open_to_this_machine_only(self) -> Self:
        if self.password is None and not is_loopback(self.host):
            raise ValueError("KAFIDX_PASSWORD is not set: then KAFIDX_HOST must be a loopback address (local use)")
        if ":" in self.user:
            raise ValueError("KAFIDX_USER must not hold a colon (RFC 7617)")
        return self
