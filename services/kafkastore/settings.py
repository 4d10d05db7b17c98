"""Settings of kafkastore."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from services.backbone.settings import (
    CommaSeparated,
    KafkaSettings,
    ProcessSettings,
    QueueRedisSettings,
    RedisUrl,
    Seconds,
)

IpMode = Literal["truncated", "full", "none"]
"""The part of a client's address that reaches Kafka: its network (/24 or /48), all of it, or nothing."""


class RedisServer(NamedTuple):
    """One Redis to drain."""

    url: str
    """The URL may contain a password. Pass it only to the Redis client, never to a log, a metric or an error."""
    label: str
    """host:port/db: the name in logs and metrics."""


def _server(url: RedisUrl) -> RedisServer:
    text = url.get_secret_value()
    parts = urlsplit(text)
    if parts.scheme == "unix":
        return RedisServer(text, parts.path)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return RedisServer(text, f"{host}:{parts.port or 6379}/{parts.path.strip('/') or '0'}")


class Settings(ProcessSettings, QueueRedisSettings, KafkaSettings):
    """Settings of one kafkastore process. It drains `redis_urls`, or `redis_url` if `redis_urls` is empty."""

    redis_urls: Annotated[tuple[RedisUrl, ...], CommaSeparated] = Field((), alias="KAFKASTORE_REDIS_URLS")
    """Several Redis servers to drain in parallel, separated by commas. They replace REDIS_URL. Empty: REDIS_URL
    alone."""
    batch_events: int = Field(3000, ge=1, le=100_000, alias="KAFKASTORE_BATCH_EVENTS")
    """The maximum number of entries in one claim. kafkastore does not wait until the queue contains so many entries."""
    batch_bytes: int = Field(16_777_216, ge=1024, alias="KAFKASTORE_BATCH_BYTES")
    """The maximum size of one claim in bytes. It bounds memory when events are large."""
    lease_s: float = Field(15.0, ge=3.0, le=3600.0, alias="KAFKASTORE_LEASE_S")
    """Seconds until a claim of a dead instance expires. Then other instances take it. A live instance renews its claims
    three times in this period."""
    hold_s: float = Field(60.0, gt=0, alias="KAFKASTORE_HOLD_S")
    """Seconds that an instance keeps a batch that Kafka does not acknowledge. Then the batch goes back to the list."""
    ip_mode: IpMode = Field("truncated", alias="IP_MODE")
    """How much of a client's address reaches Kafka: truncated (/24 or /48), full, or none."""
    geoip_database: Annotated[tuple[Path, ...], CommaSeparated] = Field((), alias="GEOIP_DATABASE")
    """City databases in MaxMind's format, separated by commas. The first one that has the address is used. Empty: every
    location is XX. `python3 tasks.py geoip.fetch` downloads one and prints the line to put here."""
    geoip_check_s: Seconds = Field(30.0, alias="KAFKASTORE_GEOIP_CHECK_S")
    """Seconds between checks for a new file at the paths of GEOIP_DATABASE."""

    @field_validator("redis_urls")
    @classmethod
    def _each_redis_once(cls, urls: tuple[RedisUrl, ...]) -> tuple[RedisUrl, ...]:
        if len(urls) != len({_server(url).label for url in urls}):
            raise ValueError("contains the same Redis twice")
        return urls

    @property
    def redis_servers(self) -> tuple[RedisServer, ...]:
        """The Redis servers to drain."""
        return tuple(_server(url) for url in self.redis_urls or (self.redis_url,))
