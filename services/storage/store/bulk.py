"""BulkStore: many changes of one kind, each slice by few requests to the database."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from pymongo import UpdateOne

from services.storage.core.matching import SubjectKind
from services.storage.core.objects import StoredObject
from services.storage.store.database import Database, objects_of
from services.storage.store.objects import ObjectStore, update_of

SLICE: Final = 500
"""The most objects of one call."""
_MAX_ROUNDS: Final = 16
_ROWS: Final = 5_000

ObjectChange = Callable[[StoredObject], StoredObject | None]
"""Returns the next version of an object, or None to leave it as it is."""
ChangeOutcome = Literal["changed", "unchanged", "unknown", "conflict"]
"""conflict: other writers changed the object at each attempt."""
BeforeWrite = Callable[[Iterable[StoredObject]], Awaitable[None]]


class ExtdataRow(NamedTuple):
    """What an importer knows of one of its objects."""

    id: str
    valid_until_ms: int | None
    extdata: Mapping[str, Any]
    images: Sequence[str | None]


async def _nothing(_: Iterable[StoredObject]) -> None:
    pass


class BulkStore:
    """Many changes. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._objects = ObjectStore(database)

    async def change_many(
        self, kind: SubjectKind, changes: Mapping[str, ObjectChange], *, before_write: BeforeWrite = _nothing
    ) -> dict[str, ChangeOutcome]:
        """Change objects by id, at most 500. No event is owed. `before_write` gets the objects before each write."""
        outcomes: dict[str, ChangeOutcome] = {}
        left = dict(changes)
        for _ in range(_MAX_ROUNDS):
            stored = await self._objects.get_many(kind, left)
            live = {object_id: each for object_id, each in stored.items() if not each.is_deleted}
            outcomes |= {object_id: "unknown" for object_id in left if object_id not in live}
            changed = {object_id: left[object_id](each) for object_id, each in live.items()}
            outcomes |= {object_id: "unchanged" for object_id, after in changed.items() if after is None}
            pairs = [(live[object_id], after) for object_id, after in changed.items() if after is not None]
            await before_write([before for before, _ in pairs])
            outcomes |= dict.fromkeys(await self._write(kind, pairs), "changed")
            left = {object_id: change for object_id, change in left.items() if object_id not in outcomes}
            if not left:
                break
        return outcomes | dict.fromkeys(left, "conflict")

    async def ids_of_owner(self, kind: SubjectKind, owner: str) -> AsyncIterator[list[str]]:
        """Yield the ids of an owner's objects without tombstones, in lists of at most 500."""
        last = ""
        while True:
            wanted = {"owner": {"$eq": owner}, "_id": {"$gt": last}, "deleted": {"$exists": False}}
            found = objects_of(self._database, kind).find(wanted, {"_id": 1}, sort=[("_id", 1)], limit=SLICE)
            ids = [document["_id"] async for document in found]
            if not ids:
                return
            yield ids
            last = ids[-1]

    async def extdata_of_owner(
        self, kind: SubjectKind, owner: str, names: Iterable[str]
    ) -> AsyncIterator[list[ExtdataRow]]:
        """Yield ids, ends, images and some names of `extdata` of an owner's objects, in lists of at most 5,000.

        The rest of the objects is not read by this process. The names are letters, digits and underscores.
        """
        wanted = {"owner": {"$eq": owner}, "deleted": {"$exists": False}}
        projection = {"validuntil": 1, "images": 1, **{f"extdata.{name}": 1 for name in names}}
        found = objects_of(self._database, kind).find(wanted, projection, sort=[("_id", 1)], batch_size=_ROWS)
        async with found:
            while rows := await found.to_list(_ROWS):
                yield [_extdata_row(row) for row in rows]

    async def _write(self, kind: SubjectKind, changes: list[tuple[StoredObject, StoredObject]]) -> list[str]:
        """Write the changes whose object still has its version. Return their ids."""
        if not changes:
            return []
        # The server returns only the number of written objects. The token shows which ones, if it is lower.
        token = uuid.uuid4().hex
        operations = []
        for before, after in changes:
            update = update_of(before, after)
            update["$set"]["bulk"] = token
            operations.append(UpdateOne({"_id": before.id, "version": before.version}, update))
        collection = objects_of(self._database, kind)
        done = await collection.bulk_write(operations, ordered=False)
        ids = [before.id for before, _ in changes]
        if done.matched_count == len(ids):
            return ids
        found = collection.find({"_id": {"$in": ids}, "bulk": token}, {"_id": 1})
        return [document["_id"] async for document in found]


def _extdata_row(document: Mapping[str, Any]) -> ExtdataRow:
    """Return a row. Documents of the old system can lack each field."""
    extdata, images = document.get("extdata") or {}, document.get("images") or ()
    return ExtdataRow(document["_id"], document.get("validuntil"), extdata, images)
