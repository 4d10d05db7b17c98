"""The collections of storage in MongoDB, one module for each task.

- `database`: the client, the names of the collections, and their indexes
- `objects`: offers and searches: read, insert, change, delete
- `candidates`: the objects that an object may match
- `due`: the claims of objects that are due
- `pairs`: the states of pairs, and the encounters that are not reported yet
"""

from services.storage.store.candidates import CandidateFinder, CandidateSlice
from services.storage.store.database import Database, connect, create_indexes, other_kind
from services.storage.store.due import ClaimedObject, DueObjects, FanOutProgress
from services.storage.store.objects import ObjectConflict, ObjectStore
from services.storage.store.pairs import PairChange, PairStore

__all__ = [
    "CandidateFinder",
    "CandidateSlice",
    "ClaimedObject",
    "Database",
    "DueObjects",
    "FanOutProgress",
    "ObjectConflict",
    "ObjectStore",
    "PairChange",
    "PairStore",
    "connect",
    "create_indexes",
    "other_kind",
]
