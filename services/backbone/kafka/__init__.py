"""Kafka for everyone who writes to it or reads from it: the only package that knows the Kafka client.

Delivery promise: `EventProducer.produce` returns once every record is acknowledged by all in-sync replicas (acks=all).
`EventConsumer` never commits by itself: its caller commits, or keeps positions elsewhere, after the work is done.
`TopicReader` joins no group: whoever watches leaves no trace.
"""

from services.backbone.events import Record
from services.backbone.kafka.consumer import EventConsumer, Position, RecordBatch
from services.backbone.kafka.errors import KafkaUnavailable, OffsetGone
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
    "KafkaUnavailable",
    "OffsetGone",
    "Position",
    "Record",
    "RecordBatch",
    "Topic",
    "TopicOffsets",
    "TopicPlan",
    "TopicReader",
    "delete_records",
    "ensure_topics",
    "max_record_bytes",
    "topic_differences",
    "topic_plans",
]
