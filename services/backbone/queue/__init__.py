"""The Redis list between tracker and kafkastore, its claims and its ledger."""

from services.backbone.queue.event_queue import Claim, EventQueue, Ledger, QueueError
from services.backbone.queue.search import HeldClaim, QueueSearch, QueueSlice
from services.backbone.queue.server import EvictionAllowed, refuse_eviction

__all__ = [
    "Claim",
    "EventQueue",
    "EvictionAllowed",
    "HeldClaim",
    "Ledger",
    "QueueError",
    "QueueSearch",
    "QueueSlice",
    "refuse_eviction",
]
