"""The names of the collections, their indexes, and the claims of due documents."""

import datetime as dt
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import BulkWriteError

from services.backbone.mongo import Database, Documents, duplicates_of

NOTIFICATIONS: Final = "notifications"
MAPPINGS: Final = "mappings"
MESSAGES: Final = "messages"
DELIVERIES: Final = "deliveries"
DUE_OF_HOST: Final = "due_of_host"
"""The index that claims read."""
DEAD: Final = "dead"
"""The index of the dead list. A partial index serves a query without a condition on its field only with a hint."""


def expiry(accepted_ms: int, keep_days: int) -> dt.datetime:
    """Return when a document is removed: a TTL index needs a date."""
    return dt.datetime.fromtimestamp(accepted_ms / 1000.0, dt.UTC) + dt.timedelta(days=keep_days)


def _when_present(field: str) -> dict[str, Any]:
    return {field: {"$exists": True}}


async def create_indexes(database: Database) -> None:
    """Create the indexes of all collections. An existing index is kept. Raises PyMongoError."""
    ends = IndexModel([("expire_on", ASCENDING)], name="ends", expireAfterSeconds=0)
    await database[NOTIFICATIONS].create_indexes(
        [
            IndexModel([("due_at", ASCENDING)], name="due", partialFilterExpression=_when_present("due_at")),
            IndexModel([("owed_at", ASCENDING)], name="owed", partialFilterExpression=_when_present("owed_at")),
            ends,
        ]
    )
    await database[MAPPINGS].create_indexes(
        [
            IndexModel([("sendbird_id", ASCENDING)], name="chat", partialFilterExpression={"sendbird_id": {"$gt": ""}}),
            IndexModel([("updated_ms", DESCENDING), ("_id", ASCENDING)], name="newest"),
            IndexModel([("ref", ASCENDING)], name="ref"),
            IndexModel(
                [("onesignal_id", ASCENDING)], name="phone", partialFilterExpression={"onesignal_id": {"$gt": ""}}
            ),
        ]
    )
    await database[MESSAGES].create_indexes(
        [
            IndexModel([("notification_id", ASCENDING)], name="notification"),
            IndexModel([("device_id", ASCENDING), ("accepted_ms", DESCENDING)], name="device"),
            IndexModel([("accepted_ms", DESCENDING)], name="newest"),
            IndexModel(
                [("held_until", ASCENDING), ("device_id", ASCENDING)],
                name="held",
                partialFilterExpression=_when_present("held_until"),
            ),
            IndexModel(
                [("device_id", ASCENDING), ("held_until", ASCENDING)],
                name="held_of_device",
                partialFilterExpression=_when_present("held_until"),
            ),
            ends,
        ]
    )
    await database[DELIVERIES].create_indexes(
        [
            IndexModel([("due_at", ASCENDING)], name="due_time", partialFilterExpression=_when_present("due_at")),
            IndexModel(
                [("host", ASCENDING), ("due_at", ASCENDING)],
                name=DUE_OF_HOST,
                partialFilterExpression=_when_present("due_at"),
            ),
            IndexModel([("message_id", ASCENDING)], name="message"),
            IndexModel([("device_id", ASCENDING), ("accepted_ms", DESCENDING)], name="device"),
            IndexModel([("ended_ms", DESCENDING)], name=DEAD, partialFilterExpression={"state": "dead"}),
            ends,
        ]
    )


async def insert_new(collection: Documents, documents: Iterable[dict[str, Any]]) -> set[str]:
    """Insert documents. Return the ids that were known already; these documents stay as they are."""
    listed = list(documents)
    if not listed:
        return set()
    try:
        await collection.insert_many(listed, ordered=False)
    except BulkWriteError as error:
        return {document["_id"] for document in duplicates_of(error)}
    return set()


class Lease(NamedTuple):
    """A claim: from when, for how long, and under which token."""

    now_ms: int
    ms: int
    token: str


def is_claimable(field: str, *, now_ms: int) -> dict[str, Any]:
    """Return the condition of documents whose `field` is due and that no process has claimed."""
    return {field: {"$lte": now_ms}, f"{field}_until": {"$not": {"$gt": now_ms}}}


def lease_fields(field: str) -> dict[str, str]:
    """Return the fields of a lease, for `$unset`. `field` itself stays, so a claim does not change its age."""
    return {f"{field}_until": "", f"{field}_token": ""}


async def claim(collection: Documents, ids: list[str], *, field: str, lease: Lease) -> list[dict[str, Any]]:
    """Claim those of the documents whose `field` is due. Return them in the order of their acceptance.

    When the process dies, the documents can be claimed again after the lease.
    """
    if not ids:
        return []
    # The condition again: of several processes that read the same ids, one gets each document.
    due = {"_id": {"$in": ids}, **is_claimable(field, now_ms=lease.now_ms)}
    leased = {f"{field}_until": lease.now_ms + lease.ms, f"{field}_token": lease.token}
    await collection.update_many(due, {"$set": leased})
    mine = {"_id": {"$in": ids}, f"{field}_token": lease.token}
    return await collection.find(mine, sort=[("accepted_ms", ASCENDING)]).to_list()


async def claim_oldest(collection: Documents, *, field: str, limit: int, lease: Lease) -> list[dict[str, Any]]:
    """Claim the documents whose `field` has been due longest. Return them."""
    wanted = is_claimable(field, now_ms=lease.now_ms)
    found = collection.find(wanted, {"_id": 1}, sort=[(field, ASCENDING)], limit=limit)
    ids = [document["_id"] async for document in found]
    return await claim(collection, ids, field=field, lease=lease)


async def waiting(collection: Documents, *, field: str, now_ms: int) -> tuple[int, int]:
    """Return the number of documents that have `field`, and how long the oldest one has been due, in ms.

    Claimed documents count: one that fails in each claim grows old like any other.
    """
    number = await collection.count_documents({field: {"$exists": True}})
    first = await collection.find_one({field: {"$lte": now_ms}}, {field: 1}, sort=[(field, ASCENDING)])
    return number, now_ms - first[field] if first else 0
