"""Store events before the response: in Redis, or in a spool on disk while Redis does not confirm."""

from services.tracker.store.events import EventStore
from services.tracker.store.pending import NotStored, OnStored
from services.tracker.store.search import EventSearch, SearchBusy
from services.tracker.store.spool import Spool, SpoolUnusable

__all__ = ["EventSearch", "EventStore", "NotStored", "OnStored", "SearchBusy", "Spool", "SpoolUnusable"]
