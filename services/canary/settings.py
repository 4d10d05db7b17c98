"""Settings of the canary."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from services.backbone.settings import LOCAL_REDIS, KafkaSettings, ProcessSettings, RedisUrl, Seconds


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("is no URL: its host or port is malformed") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://host:port or https://host")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("takes a host, a port and a path, nothing else")
    return value.rstrip("/")


class Settings(ProcessSettings, KafkaSettings):
    """What the canary is told by its environment."""

    tracker_url: Annotated[str, AfterValidator(_http_url)] = Field("http://127.0.0.1:5222", alias="CANARY_TRACKER_URL")
    """Where the canaries are sent: the tracker itself, or what visitors reach it through."""
    redis_url: RedisUrl = Field(LOCAL_REDIS, alias="COUNTERS_REDIS_URL")
    """The Redis of the counters."""
    counter: str = Field("event_counter", alias="CANARY_COUNTER")
    """The counter whose positions tell that a canary was counted."""
    interval_s: Seconds = Field(10.0, ge=0.1, le=3600.0, alias="CANARY_INTERVAL_S")
    """From one canary to the next; also the most that the tracker is waited for."""
    late_s: Seconds = Field(20.0, ge=0.5, le=3600.0, alias="CANARY_LATE_S")
    """What has not been counted by then is late, and no longer looked for. Bounds how many are in flight."""

    @model_validator(mode="after")
    def _bounded_flight(self) -> Self:
        if self.late_s / self.interval_s > 1000:  # noqa: PLR2004 - what is in flight is looked through at each step
            raise ValueError("CANARY_LATE_S is more than 1000 times CANARY_INTERVAL_S")
        return self
