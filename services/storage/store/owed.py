"""OwedEvents: the events that changes owe to the tracker.

An event is written into the document of its object together with the change. It is removed when the tracker has
accepted it. The events `bud` of bulk writes have a collection of their own, with a document for each owner.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
from pymongo import ASCENDING, IndexModel, ReturnDocument

from services.storage.core.document_forms import MalformedDocument
from services.storage.core.documents import from_document
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import StoredObject
from services.storage.store.database import COLLECTIONS, Database, objects_of
from services.storage.store.failing import postponement

_BULK: Final = "owed_bulk"
_OWES: Final = {"owed.id": {"$exists": True}}
"""False for an empty list: an object without owed events is not in the index."""
_OWES_INDEX: Final = "owed_events"
"""A partial index serves a query without a condition on its first field only with a hint."""


_QUEUE: Final = [("owed_until", ASCENDING), ("modified", ASCENDING)]
"""Objects that were not tried yet, oldest change first. Then those that failed, in turn: they stop no others."""


class OwedEvent(NamedTuple):
    """An event that an object owes."""

    id: str
    action: str


class OwingObject(NamedTuple):
    """An object with the events that it owes, oldest first."""

    stored: StoredObject
    events: tuple[OwedEvent, ...]


class OwedBulk(NamedTuple):
    """The event of the bulk writes of an owner."""

    owner: str
    version: int
    """The begin and the end of each bulk write add 1, and so does each event that the tracker has accepted."""


async def create_owed_indexes(database: Database) -> None:
    """Create the indexes of owed events. Raises PyMongoError."""
    for name in COLLECTIONS.values():
        await database[name].create_indexes(
            [
                # For the age of the oldest one.
                IndexModel([("modified", ASCENDING)], name=_OWES_INDEX, partialFilterExpression=_OWES),
                IndexModel(_QUEUE, name="owed_queue", partialFilterExpression=_OWES),
            ]
        )
    await database[_BULK].create_indexes([IndexModel([("ready_at", ASCENDING)], name="ready")])


class OwedEvents:
    """Owed events. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bulk = database[_BULK]

    async def claim(self, kind: SubjectKind, *, now_ms: int, lease_ms: int) -> OwingObject | None:
        """Claim the next object of this kind that owes events. None: there is none.

        Raises MalformedDocument after the object is postponed.
        """
        document = await objects_of(self._database, kind).find_one_and_update(
            {**_OWES, "owed_until": {"$not": {"$gt": now_ms}}},
            {"$set": {"owed_until": now_ms + lease_ms}},
            sort=_QUEUE,
            hint="owed_queue",
            return_document=ReturnDocument.AFTER,
        )
        if document is None:
            return None
        try:
            return OwingObject(from_document(kind, document), _owed_events(document["owed"]))
        except MalformedDocument as error:
            await self.postpone(kind, document["_id"], now_ms=now_ms)
            raise MalformedDocument(f"{document['_id']}: {error}") from None

    async def acknowledge(self, kind: SubjectKind, object_id: str, event_id: str) -> None:
        """Remove an event that the tracker has accepted."""
        removed = {"$pull": {"owed": {"id": event_id}}, "$unset": {"owed_failures": ""}}
        await objects_of(self._database, kind).update_one({"_id": object_id}, removed)

    async def release(self, kind: SubjectKind, object_id: str) -> None:
        """End the lease of an object."""
        await objects_of(self._database, kind).update_one({"_id": object_id}, {"$unset": {"owed_until": ""}})

    async def retry(self, kind: SubjectKind, object_id: str, *, from_ms: int) -> None:
        """Let an object whose events could not be sent be claimed again from a time on, behind those not tried yet."""
        await objects_of(self._database, kind).update_one({"_id": object_id}, {"$set": {"owed_until": from_ms}})

    async def postpone(self, kind: SubjectKind, object_id: str, *, now_ms: int) -> None:
        """End the lease of an object whose events failed while others were sent. It waits for a growing pause."""
        update = postponement(now_ms=now_ms, failures="owed_failures", until="owed_until", also={})
        await objects_of(self._database, kind).update_one({"_id": object_id}, update)

    async def failing(self) -> int:
        """Return the number of objects whose events failed while others were sent."""
        failing = {**_OWES, "owed_failures": {"$gt": 0}}
        collections = [objects_of(self._database, kind) for kind in COLLECTIONS]
        return sum([await each.count_documents(failing, hint=_OWES_INDEX) for each in collections])

    async def begin_bulk(self, owner: str, write_id: str, *, until_ms: int) -> None:
        """Owe the event of a bulk write before its first write. Unless it ends, the event is sent from `until_ms` on.

        An event of the same owner that is sent earlier does not stand for this one.
        """
        mark = {"$set": {f"open.{write_id}": until_ms}}
        owed = {"$inc": {"version": 1}, "$min": {"ready_at": until_ms}}
        await self._bulk.update_one({"_id": owner}, owed | mark, upsert=True)

    async def end_bulk(self, owner: str, write_ids: Iterable[str], *, now_ms: int) -> None:
        """Owe the event of bulk writes that have ended from now on."""
        ended = {"$unset": {f"open.{write_id}": "" for write_id in write_ids}}
        owed = {"$inc": {"version": 1}, "$min": {"ready_at": now_ms}}
        await self._bulk.update_one({"_id": owner}, owed | ended, upsert=True)

    async def claim_bulk(self, *, now_ms: int, lease_ms: int) -> OwedBulk | None:
        """Claim the event of an owner that has been ready longest. None: there is none."""
        document = await self._bulk.find_one_and_update(
            {"ready_at": {"$lte": now_ms}},
            {"$set": {"ready_at": now_ms + lease_ms}},
            sort=[("ready_at", ASCENDING)],
        )
        return None if document is None else OwedBulk(document["_id"], document["version"])

    async def release_bulk(self, owed: OwedBulk, ready_ms: int) -> None:
        """Let an event that was not accepted be claimed again from `ready_ms` on."""
        await self._bulk.update_one({"_id": owed.owner, "version": owed.version}, {"$set": {"ready_at": ready_ms}})

    async def acknowledge_bulk(self, owed: OwedBulk, *, now_ms: int) -> None:
        """Note that the tracker has accepted an event. A later bulk write, and one that goes on, still owe theirs."""
        still_open = {"$filter": {"input": _entries_of("$open"), "cond": {"$gt": ["$$this.v", now_ms]}}}
        next_ms = {"$min": {"$map": {"input": _entries_of("$open"), "in": "$$this.v"}}}
        accepted: list[dict[str, Any]] = [
            {"$set": {"open": {"$arrayToObject": still_open}, "version": {"$add": ["$version", 1]}}},
            {"$set": {"ready_at": {"$ifNull": [next_ms, "$$REMOVE"]}}},
        ]
        await self._bulk.update_one({"_id": owed.owner, "version": owed.version}, accepted)

    async def waiting(self, *, now_ms: int) -> tuple[int, int]:
        """Return the number of objects that owe events, and the time since the oldest change among them in ms."""
        number, oldest_ms = 0, now_ms
        for kind in COLLECTIONS:
            collection = objects_of(self._database, kind)
            number += await collection.count_documents(_OWES, hint=_OWES_INDEX)
            first: Mapping[str, Any] | None = await collection.find_one(
                _OWES, {"modified": 1}, sort=[("modified", ASCENDING)]
            )
            oldest_ms = min(oldest_ms, first["modified"] if first else now_ms)
        return number, now_ms - oldest_ms


def _entries_of(field: str) -> dict[str, Any]:
    return {"$objectToArray": {"$ifNull": [field, {}]}}


def _owed_events(owed: object) -> tuple[OwedEvent, ...]:
    try:
        return tuple([OwedEvent(each.id, each.action) for each in msgspec.convert(owed, list[_OwedDocument])])
    except msgspec.ValidationError as error:
        raise MalformedDocument(f"owed: {error}") from None


class _OwedDocument(msgspec.Struct, frozen=True):
    id: str
    action: str
