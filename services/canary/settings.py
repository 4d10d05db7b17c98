"""Settings of the canary."""

from typing import Self

from pydantic import Field, model_validator

from services.backbone.settings import CountersRedisSettings, KafkaSettings, ProcessSettings, Seconds, ServiceUrl


class Settings(ProcessSettings, CountersRedisSettings, KafkaSettings):
    """Settings of the canary."""

    tracker_url: ServiceUrl = Field("http://127.0.0.1:5222", alias="CANARY_TRACKER_URL")
    """Where canaries are sent: the tracker, or the proxy that visitors reach it through."""
    counter: str = Field("event_counter", alias="CANARY_COUNTER")
    """The counter whose positions prove that a canary was counted."""
    interval_s: Seconds = Field(10.0, ge=0.1, le=3600.0, alias="CANARY_INTERVAL_S")
    """Seconds between canaries. Also the time limit for the tracker's response."""
    late_s: Seconds = Field(20.0, ge=0.5, le=3600.0, alias="CANARY_LATE_S")
    """Seconds after which a canary that is not counted is late. The canary then stops looking for it."""

    @model_validator(mode="after")
    def _bounded_flight(self) -> Self:
        if self.late_s / self.interval_s > 1000:  # noqa: PLR2004 - what is in flight is looked through at each step
            raise ValueError("CANARY_LATE_S is more than 1000 times CANARY_INTERVAL_S")
        return self
