"""The clients of the canary: the tracker, the topic and the counter's positions; one module each."""

from services.canary.lookups.counter import CounterPositions
from services.canary.lookups.topic import TopicWatch
from services.canary.lookups.tracker import CanaryClient, NotAccepted

__all__ = ["CanaryClient", "CounterPositions", "NotAccepted", "TopicWatch"]
