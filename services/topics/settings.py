"""Settings of topics."""

from pydantic import Field

from services.backbone.kafka import TopicPlan, topic_plans
from services.backbone.settings import KafkaSettings, LogSettings, Seconds


class Settings(LogSettings, KafkaSettings):
    """Settings of the job that creates the topics."""

    partitions: int = Field(12, ge=1, le=1000, alias="TOPICS_PARTITIONS")
    """Partitions of the topic of events: the maximum number of consumers of one group that can share it. The number can
    grow later, but never shrink. The topic of dead letters has one."""
    replication: int = Field(1, ge=1, le=9, alias="TOPICS_REPLICATION")
    """Replicas of each topic: 3 with three brokers or more. With several replicas, all except one must acknowledge a
    write."""
    retention_s: float = Field(604_800.0, ge=60.0, le=315_360_000.0, alias="TOPICS_RETENTION_S")
    """Seconds that events are kept at most."""
    retention_bytes: int = Field(536_870_912, ge=16_777_216, alias="TOPICS_RETENTION_BYTES")
    """Bytes that each partition of both topics keeps at most. The oldest events are deleted first, counted or not.
    Partitions x bytes x replicas must be under 70 % of the brokers' disks: 12 partitions of 512 MiB are 6 GiB a
    replica."""
    dead_retention_s: float = Field(2_419_200.0, ge=60.0, le=315_360_000.0, alias="TOPICS_DEAD_RETENTION_S")
    """Seconds that dead letters are kept at most. Longer than events, since a dead letter waits for a person."""
    wait_s: Seconds = Field(120.0, alias="TOPICS_WAIT_S")
    """Seconds that the job waits until there are as many brokers as replicas."""

    @property
    def plans(self) -> tuple[TopicPlan, TopicPlan]:
        """The planned configuration of the topics."""
        return topic_plans(
            partitions=self.partitions,
            replication=self.replication,
            max_event_bytes=self.max_event_bytes,
            retention_s=self.retention_s,
            dead_retention_s=self.dead_retention_s,
            retention_bytes=self.retention_bytes,
        )
