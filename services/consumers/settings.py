"""Settings of the consumers."""

from pydantic import Field

from services.backbone.settings import LOCAL_REDIS, KafkaSettings, ProcessSettings, RedisUrl, Seconds


class Settings(ProcessSettings, KafkaSettings):
    """What a consumer's process is told by its environment."""

    redis_url: RedisUrl = Field(LOCAL_REDIS, alias="COUNTERS_REDIS_URL")
    """The Redis of the counters: one for all consumers, while each tracker may have a queue of its own."""
    max_labels: int = Field(200_000, ge=10_000, alias="CONSUMERS_MAX_LABELS")
    """Labels a counter may hold; what comes after is counted as `(other)`. Bounds Redis' memory (about 150 bytes a
    label); the least leaves room for the histograms' own labels."""
    id_window_s: float = Field(86_400.0, ge=1.0, le=2_592_000.0, alias="CONSUMERS_ID_WINDOW_S")
    """How long the id of a counted event is remembered at the least, so that a copy of it is dropped; twice that at the
    most."""
    id_window_events: int = Field(1_000_000, ge=10_000, le=100_000_000, alias="CONSUMERS_ID_WINDOW_EVENTS")
    """How many ids are remembered at the least where fewer seconds hold as many; twice that at the most. Bounds Redis'
    memory: 57 bytes an id, so the default costs a counter 113 MB when it is used up. It reaches back 17 to 33 minutes
    at 1,000 events/s, 2.8 to 5.6 hours at 100."""
    poll_events: int = Field(5000, ge=1, le=100_000, alias="CONSUMERS_POLL_EVENTS")
    """The largest batch: counted and written in one step, so one killed in between is at most counted again."""
    poll_wait_s: Seconds = Field(1.0, le=10.0, alias="CONSUMERS_POLL_WAIT_S")
    """How long a poll waits for the first event; never for a fuller batch."""
    lag_interval_s: Seconds = Field(2.0, alias="CONSUMERS_LAG_INTERVAL_S")
    """How often lag is measured and, for lag tools only, positions are committed to Kafka."""
    give_up_s: Seconds = Field(300.0, alias="CONSUMERS_GIVE_UP_S")
    """How long Redis or Kafka may refuse before the process ends with 1, for its supervisor to start it anew."""
