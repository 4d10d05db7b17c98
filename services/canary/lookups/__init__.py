"""What a canary is looked up in: the tracker's answer, the topic, and the counter's positions; one module each."""

from services.canary.lookups.counter import CounterPositions
from services.canary.lookups.topic import TopicWatch
from services.canary.lookups.tracker import NoResponse, TrackerDoor

__all__ = ["CounterPositions", "NoResponse", "TopicWatch", "TrackerDoor"]
