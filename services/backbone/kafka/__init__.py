"""Write to and read from Kafka. No other package uses the Kafka client (aiokafka).

Delivery guarantee: `EventProducer.produce` returns after all in-sync replicas have acknowledged every record
(acks=all). `EventConsumer` never commits by itself: its caller commits, or stores positions elsewhere, after it has
processed records. `TopicReader` joins no group, so the brokers store nothing about it.
"""

from services.backbone.events import Record
from services.backbone.kafka.consumer import EventConsumer, Position, RecordBatch
from services.backbone.kafka.errors import KafkaUnavailable, OffsetGone, UnreadableRecord
from services.backbone.kafka.groups import GroupState, read_groups
from services.backbone.kafka.identity import Topic
from services.backbone.kafka.producer import EventProducer
from services.backbone.kafka.reader import TopicReader
from services.backbone.kafka.topics import (
    TopicOffsets,
    TopicPlan,
    delete_records,
    ensure_topics,
    max_record_bytes,
    topic_differences,
    topic_plans,
)

__all__ = [
    "EventConsumer",
    "EventProducer",
    "GroupState",
    "KafkaUnavailable",
    "OffsetGone",
    "Position",
    "Record",
    "RecordBatch",
    "Topic",
    "TopicOffsets",
    "TopicPlan",
    "TopicReader",
    "UnreadableRecord",
    "delete_records",
    "ensure_topics",
    "max_record_bytes",
    "read_groups",
    "topic_differences",
    "topic_plans",
]
