"""Where events are stored before a request is answered: Redis, and a spool on disk while Redis does not confirm."""

from services.tracker.store.events import EventStore, NotStored, OnStored
from services.tracker.store.spool import Spool, SpoolUnusable

__all__ = ["EventStore", "NotStored", "OnStored", "Spool", "SpoolUnusable"]
