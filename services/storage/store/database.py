"""The client of MongoDB, the names of the collections, and their indexes."""

from typing import Any, Final

from pymongo import ASCENDING, GEOSPHERE, AsyncMongoClient, IndexModel

from services.backbone import mongo
from services.backbone.mongo import Database, Documents
from services.storage.core.matching import SubjectKind
from services.storage.store.database_time import CommandTimes

__all__ = [
    "COLLECTIONS",
    "MATCH_INDEX",
    "PAIRS",
    "Database",
    "Documents",
    "connect",
    "create_indexes",
    "objects_of",
    "other_kind",
]

PAIRS: Final = "pairs"
COLLECTIONS: Final[dict[SubjectKind, str]] = {"offer": "offers", "search": "searches"}
MATCH_INDEX: Final = "match"


def connect(url: str) -> AsyncMongoClient[dict[str, Any]]:
    """Return a client (`mongo.connect`) whose commands are measured."""
    return mongo.connect(url, service="storage", event_listeners=[CommandTimes()])


async def create_indexes(database: Database) -> None:
    """Create the indexes of all collections. An existing index is kept. Raises PyMongoError."""
    active = {"isActive": True}
    for name in COLLECTIONS.values():
        await database[name].create_indexes(
            [
                # The order serves a find of one class: equality first, then the cells of the disc.
                IndexModel(
                    [("keys", ASCENDING), ("class", ASCENDING), ("location", GEOSPHERE)],
                    name=MATCH_INDEX,
                    partialFilterExpression=active,
                ),
                IndexModel(
                    [("due_rank", ASCENDING), ("due_at", ASCENDING)],
                    name="due",
                    partialFilterExpression={"due_at": {"$exists": True}},
                ),
                IndexModel(
                    [("deleted", ASCENDING)], name="deleted", partialFilterExpression={"deleted": {"$exists": True}}
                ),
                IndexModel([("owner", ASCENDING), ("_id", ASCENDING)], name="owner"),
            ]
        )
    is_in = {"in": True}
    await database[PAIRS].create_indexes(
        [
            IndexModel([("search", ASCENDING)], name="of_search", partialFilterExpression=is_in),
            IndexModel([("offer", ASCENDING)], name="of_offer", partialFilterExpression=is_in),
            IndexModel(
                [("owed_rank", ASCENDING), ("owed_at", ASCENDING)],
                name="owed",
                partialFilterExpression={"owed_at": {"$exists": True}},
            ),
        ]
    )


def objects_of(database: Database, kind: SubjectKind) -> Documents:
    """Return the collection of a kind."""
    return database[COLLECTIONS[kind]]


def other_kind(kind: SubjectKind) -> SubjectKind:
    """Return the kind that an object of this kind matches."""
    return "search" if kind == "offer" else "offer"
