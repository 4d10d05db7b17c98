"""Settings of topics."""

from pydantic import Field

from services.backbone.kafka import TopicPlan, topic_plans
from services.backbone.settings import KafkaSettings, LogSettings, Seconds


class Settings(LogSettings, KafkaSettings):
    """What the job is told by its environment."""

    partitions: int = Field(12, ge=1, le=1000, alias="TOPICS_PARTITIONS")
    """Of the topic of events; dead letters have one. As many consumers of one kind can share the topic."""
    replication: int = Field(1, ge=1, le=9, alias="TOPICS_REPLICATION")
    """Copies of each topic. Of several all but one must confirm a write, so three survive the loss of one broker."""
    retention_s: float = Field(604_800.0, ge=60.0, le=315_360_000.0, alias="TOPICS_RETENTION_S")
    retention_bytes: int = Field(536_870_912, ge=16_777_216, alias="TOPICS_RETENTION_BYTES")
    """Of each partition. Bounds the brokers' disks: 12 partitions of 512 MiB are 6 GiB a copy. Of what is over it the
    oldest goes, counted or not."""
    dead_retention_s: float = Field(2_419_200.0, ge=60.0, le=315_360_000.0, alias="TOPICS_DEAD_RETENTION_S")
    """Longer than events: a dead letter waits for a person."""
    wait_s: Seconds = Field(120.0, alias="TOPICS_WAIT_S")
    """How long the brokers may take to answer, and to be as many as the copies need, before the job gives up."""

    @property
    def plans(self) -> tuple[TopicPlan, TopicPlan]:
        """The topics as these settings want them."""
        return topic_plans(
            partitions=self.partitions,
            replication=self.replication,
            max_event_bytes=self.max_event_bytes,
            retention_s=self.retention_s,
            dead_retention_s=self.dead_retention_s,
            retention_bytes=self.retention_bytes,
        )
