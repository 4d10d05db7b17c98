"""Settings of kafkastore."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from services.backbone.settings import LOCAL_REDIS, CommaSeparated, KafkaSettings, ProcessSettings, RedisUrl, Seconds

IpMode = Literal["truncated", "full", "none"]
"""What is left of a client's address in Kafka: its network (/24 or /48), all of it, or nothing."""


class RedisServer(NamedTuple):
    """One Redis to drain."""

    url: str
    """With its password: for the client only, never for a log, a metric or an error."""
    label: str
    """host:port/db: what logs and metrics call it."""


def _server(url: RedisUrl) -> RedisServer:
    text = url.get_secret_value()
    parts = urlsplit(text)
    if parts.scheme == "unix":
        return RedisServer(text, parts.path)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return RedisServer(text, f"{host}:{parts.port or 6379}/{parts.path.strip('/') or '0'}")


class Settings(ProcessSettings, KafkaSettings):
    """What a kafkastore process is told by its environment."""

    redis_url: RedisUrl = Field(LOCAL_REDIS, alias="REDIS_URL")
    """The Redis beside the tracker: the one that is drained unless KAFKASTORE_REDIS_URLS names others."""
    redis_urls: Annotated[tuple[RedisUrl, ...], CommaSeparated] = Field((), alias="KAFKASTORE_REDIS_URLS")
    """Several Redis servers, with commas between, drained side by side; takes the place of REDIS_URL."""
    batch_events: int = Field(3000, ge=1, le=100_000, alias="KAFKASTORE_BATCH_EVENTS")
    batch_bytes: int = Field(16_777_216, ge=1024, alias="KAFKASTORE_BATCH_BYTES")
    """A claim ends at this many bytes: bounds memory when events are large."""
    lease_s: float = Field(15.0, ge=3.0, le=3600.0, alias="KAFKASTORE_LEASE_S")
    """How long a claim outlives an instance that died. Renewed at a third of it while a batch is worked on."""
    hold_s: float = Field(60.0, gt=0, alias="KAFKASTORE_HOLD_S")
    """How long a batch that Kafka does not take is kept before it goes back to the list, for whoever can ship it."""
    ip_mode: IpMode = Field("truncated", alias="IP_MODE")
    geoip_database: Annotated[tuple[Path, ...], CommaSeparated] = Field((), alias="GEOIP_DATABASE")
    """City databases in MaxMind's format, with commas between: the first that knows an address answers.
    None: every place is XX."""
    geoip_check_s: Seconds = Field(30.0, alias="KAFKASTORE_GEOIP_CHECK_S")
    """How often to look for a new file at the paths of GEOIP_DATABASE."""

    @field_validator("redis_urls")
    @classmethod
    def _each_redis_once(cls, urls: tuple[RedisUrl, ...]) -> tuple[RedisUrl, ...]:
        if len(urls) != len({_server(url).label for url in urls}):
            raise ValueError("names one Redis twice")
        return urls

    @property
    def redis_servers(self) -> tuple[RedisServer, ...]:
        """The Redis servers to drain."""
        return tuple(_server(url) for url in self.redis_urls or (self.redis_url,))
