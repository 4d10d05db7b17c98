"""The Redis list between tracker and kafkastore, its claims and its ledger."""

from services.backbone.queue.event_queue import Books, Claim, EventQueue, QueueError
from services.backbone.queue.server import EvictionAllowed, connect, refuse_eviction

__all__ = ["Books", "Claim", "EventQueue", "EvictionAllowed", "QueueError", "connect", "refuse_eviction"]
