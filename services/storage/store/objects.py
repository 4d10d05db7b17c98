"""ObjectStore: reads and writes offers and searches, each change by one write of one document."""

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from pymongo.errors import BulkWriteError

from services.backbone.mongo import duplicates_of
from services.storage.core.documents import (
    SIDE_PROJECTION,
    from_document,
    from_documents,
    to_document,
    to_sides,
)
from services.storage.core.matching import MatchSide, SubjectKind
from services.storage.core.objects import StoredObject
from services.storage.store.database import COLLECTIONS, Database, objects_of

EventAction = Literal["create", "update", "setact", "delete"]
"""The actions of the events `offr` and `srch`."""

_MAX_ATTEMPTS: Final = 16


class ObjectConflict(Exception):
    """Other writers changed the object at each attempt."""


class ObjectStore:
    """Offers and searches by id. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, kind: SubjectKind, object_id: str) -> StoredObject | None:
        """Return the object, also a tombstone; None if it is unknown. Raises MalformedDocument."""
        document = await objects_of(self._database, kind).find_one({"_id": object_id})
        return None if document is None else from_document(kind, document)

    async def get_many(self, kind: SubjectKind, object_ids: Iterable[str]) -> dict[str, StoredObject]:
        """Return the known objects among the ids. Malformed ones are left out."""
        found = await objects_of(self._database, kind).find({"_id": {"$in": list(object_ids)}}).to_list()
        return {stored.id: stored for stored in from_documents(kind, found)}

    async def insert(self, stored: StoredObject, *, event: EventAction | None = None) -> None:
        """Insert a new object with the event that it owes. Raises DuplicateKeyError for a known id."""
        document = to_document(stored)
        if event is not None:
            document["owed"] = [_owed(stored, event)]
        await objects_of(self._database, stored.kind).insert_one(document)

    async def insert_many(self, kind: SubjectKind, objects: Iterable[StoredObject]) -> list[str]:
        """Insert new objects of one kind, without events. Return the ids that were known already; they stay as is."""
        documents = [to_document(stored) for stored in objects]
        if not documents:
            return []
        try:
            await objects_of(self._database, kind).insert_many(documents, ordered=False)
        except BulkWriteError as error:
            return [document["_id"] for document in duplicates_of(error)]
        return []

    async def replace(self, before: StoredObject, after: StoredObject, *, event: EventAction | None = None) -> bool:
        """Write the difference of two versions of an object, and the event that it owes.

        Return False, and write nothing, if the stored version is not the one of `before`. The matcher writes some
        fields without a new version, so fields that do not differ are not written, but a due mark is.
        """
        update = update_of(before, after)
        if event is not None:
            update["$push"] = {"owed": _owed(after, event)}
        collection = objects_of(self._database, before.kind)
        done = await collection.update_one({"_id": before.id, "version": before.version}, update)
        return done.matched_count == 1

    async def change(
        self,
        kind: SubjectKind,
        object_id: str,
        change: Callable[[StoredObject], StoredObject | None],
        *,
        event: EventAction | None = None,
    ) -> tuple[StoredObject, StoredObject] | None:
        """Read an object, apply `change`, and write the result. Return the object before and after the change.

        `change` returns a value with the next version, or None to change nothing. It is called again if another writer
        was first. Return None for an unknown or deleted object. Raises ObjectConflict after 16 attempts.
        """
        for _ in range(_MAX_ATTEMPTS):
            before = await self.get(kind, object_id)
            if before is None or before.is_deleted:
                return None
            after = change(before)
            if after is None:
                return before, before
            if await self.replace(before, after, event=event):
                return before, after
        raise ObjectConflict(f"{kind} {object_id}: {_MAX_ATTEMPTS} attempts met other writers")

    async def remove_tombstones(self) -> int:
        """Remove the deleted objects whose pairs have ended and that owe no event. Return their number."""
        ended = {"deleted": {"$exists": True}, "due_at": {"$exists": False}, "owed": {"$in": [None, []]}}
        done = [await objects_of(self._database, kind).delete_many(ended) for kind in COLLECTIONS]
        return sum(each.deleted_count for each in done)

    async def sides(self, kind: SubjectKind, object_ids: Iterable[str]) -> dict[str, MatchSide]:
        """Return the fields for the rule of the known objects among the ids. Malformed ones are left out."""
        wanted = {"_id": {"$in": list(object_ids)}}
        found = await objects_of(self._database, kind).find(wanted, SIDE_PROJECTION).to_list()
        return {side.id: side for side in to_sides(found)[0]}

    async def versions(self, kind: SubjectKind, object_ids: Iterable[str]) -> dict[str, int]:
        """Return the current versions of the known objects among the ids."""
        found = objects_of(self._database, kind).find({"_id": {"$in": list(object_ids)}}, {"version": 1})
        return {document["_id"]: document.get("version", 0) async for document in found}


def update_of(before: StoredObject, after: StoredObject) -> dict[str, Any]:
    """Return the update that writes the difference of two versions of an object.

    A due mark is written also if it is equal: a matcher of the version before can clear it between the read and this
    write.
    """
    old, new = to_document(before), to_document(after)
    changed = {name: value for name, value in new.items() if name not in old or old[name] != value}
    if after.due_at_ms is not None and after.due_at_ms <= after.modified_ms:
        changed |= {"due_at": after.due_at_ms, "due_rank": after.due_rank}
    update: dict[str, Any] = {"$set": changed}
    if removed := old.keys() - new.keys():
        update["$unset"] = dict.fromkeys(removed, "")
    return update


def _owed(stored: StoredObject, action: EventAction) -> dict[str, Any]:
    return {"id": f"{stored.id}.{stored.version}.{action}", "action": action, "version": stored.version}
