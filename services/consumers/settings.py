"""Settings of the consumers."""

from pydantic import Field

from services.backbone.settings import CountersRedisSettings, KafkaSettings, ProcessSettings, Seconds


class Settings(ProcessSettings, CountersRedisSettings, KafkaSettings):
    """Settings of one consumer process."""

    max_labels: int = Field(200_000, ge=10_000, alias="CONSUMERS_MAX_LABELS")
    """The most labels of one counter. Events with a new label beyond it are counted as (other). A label takes about
    150 bytes of Redis. The minimum leaves room for the histograms' own labels."""
    id_window_s: float = Field(86_400.0, ge=1.0, le=2_592_000.0, alias="CONSUMERS_ID_WINDOW_S")
    """Seconds that a counter keeps the id of an event to drop duplicates. It keeps an id for one to two times this
    value."""
    id_window_events: int = Field(1_000_000, ge=10_000, le=100_000_000, alias="CONSUMERS_ID_WINDOW_EVENTS")
    """The limit of ids that a counter keeps, even when CONSUMERS_ID_WINDOW_S covers more. It keeps one to two times
    this number. An id takes 57 bytes of Redis, so the default takes at most 113 MB per counter. It reaches back 17 to
    33 minutes at 1,000 events/s, 2.8 to 5.6 hours at 100."""
    poll_events: int = Field(5000, ge=1, le=100_000, alias="CONSUMERS_POLL_EVENTS")
    """The most events of one batch. A batch is counted and written in one step."""
    poll_wait_s: Seconds = Field(1.0, le=10.0, alias="CONSUMERS_POLL_WAIT_S")
    """Seconds that a poll waits for the first event. It does not wait for more."""
    lag_interval_s: Seconds = Field(2.0, alias="CONSUMERS_LAG_INTERVAL_S")
    """Seconds between measurements of lag. Each measurement also commits the positions to Kafka, only for lag tools."""
    give_up_s: Seconds = Field(300.0, alias="CONSUMERS_GIVE_UP_S")
    """Seconds that Redis or Kafka may fail before the process exits with 1, to be restarted."""
