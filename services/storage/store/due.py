"""DueObjects: claims objects that must be matched, each for one process at a time.

A change writes the due mark together with the new version. A claim is a lease: when its process dies, another process
claims the object after the lease. The mark is cleared only if the object still has the version that was matched.

An object whose matching fails keeps its mark and gets RANK_FAILING. A change gives it back its rank.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pymongo import ASCENDING, ReturnDocument

from services.storage.core.document_forms import MalformedDocument
from services.storage.core.documents import from_document
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import RANK_FAILING, RANK_FAN_OUT, RANKS, StoredObject
from services.storage.core.sphere import GeoPoint
from services.storage.store.database import COLLECTIONS, Database, objects_of
from services.storage.store.failing import postponement


class FanOutProgress(NamedTuple):
    """The position of a fan-out that was interrupted."""

    disc: int = 0
    """The disc to continue with."""
    started_ms: int = 0
    """The time at which the matching of this version began; 0: it has not begun."""


class ClaimedObject(NamedTuple):
    """An object with its lease."""

    stored: StoredObject
    token: str
    progress: FanOutProgress


class DueObjects:
    """The objects that are due. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(  # noqa: PLR0913 - what to claim, the times, and the lease
        self, kind: SubjectKind, rank: int, *, due_by_ms: int, now_ms: int, lease_ms: int, token: str
    ) -> ClaimedObject | None:
        """Claim the object of this rank that has been due longest. None: none has been due by `due_by_ms`.

        Raises MalformedDocument after the object is postponed.
        """
        wanted: dict[str, Any] = {"due_rank": rank, "due_at": {"$lte": due_by_ms}}
        if rank == RANK_FAILING:
            wanted["retry_at"] = {"$not": {"$gt": now_ms}}
        return await self._claim(kind, wanted, now_ms, lease_ms, token)

    async def claim_one(
        self, kind: SubjectKind, object_id: str, *, now_ms: int, lease_ms: int, token: str
    ) -> ClaimedObject | None:
        """Claim one object, due or not. None: it is unknown, or another process has claimed it.

        Raises MalformedDocument after the object is postponed.
        """
        return await self._claim(kind, {"_id": object_id}, now_ms, lease_ms, token)

    async def _claim(
        self, kind: SubjectKind, wanted: Mapping[str, Any], now_ms: int, lease_ms: int, token: str
    ) -> ClaimedObject | None:
        document = await objects_of(self._database, kind).find_one_and_update(
            {**wanted, "lease_until": {"$not": {"$gt": now_ms}}},
            {"$set": {"lease_until": now_ms + lease_ms, "lease_token": token}},
            sort=[("due_at", ASCENDING)],
            return_document=ReturnDocument.AFTER,
        )
        if document is None:
            return None
        try:
            stored = from_document(kind, document)
        except MalformedDocument as error:
            await self._postpone(kind, {"_id": document["_id"], "lease_token": token}, now_ms)
            raise MalformedDocument(f"{document['_id']}: {error}") from None
        saved = document.get("progress", {})
        # The progress of an older version is worth nothing.
        progress = (
            FanOutProgress(saved["disc"], saved["started"])
            if saved.get("version") == stored.version
            else FanOutProgress()
        )
        return ClaimedObject(stored, token, progress)

    async def renew(self, claimed: ClaimedObject, progress: FanOutProgress, *, now_ms: int, lease_ms: int) -> bool:
        """Store the progress and extend the lease. False: the object has a newer version, or the lease was lost."""
        saved = {"version": claimed.stored.version, "disc": progress.disc, "started": progress.started_ms}
        return await self._update(claimed, {"$set": {"lease_until": now_ms + lease_ms, "progress": saved}})

    async def extend(self, claimed: ClaimedObject, *, now_ms: int, lease_ms: int) -> None:
        """Extend the lease, if this process still has it."""
        held = {"_id": claimed.stored.id, "lease_token": claimed.token}
        await objects_of(self._database, claimed.stored.kind).update_one(
            held, {"$set": {"lease_until": now_ms + lease_ms}}
        )

    async def finish(
        self, claimed: ClaimedObject, *, next_due_ms: int | None, matched: GeoPoint, is_leaving: bool
    ) -> bool:
        """Clear the mark and end the lease, if the object still has the claimed version. Return whether it had.

        `next_due_ms` is when it is due again without a change.
        """
        done: dict[str, Any] = {"matched_location": list(matched), "leaving": is_leaving}
        cleared = dict.fromkeys(("lease_until", "lease_token", "progress", "failures", "retry_at"), "")
        if next_due_ms is None:
            cleared["due_at"] = ""
        else:
            done["due_at"] = next_due_ms
        if claimed.stored.due_rank == RANK_FAILING:
            done["due_rank"] = RANK_FAN_OUT
        if await self._update(claimed, {"$set": done, "$unset": cleared}):
            return True
        await self.release(claimed)
        return False

    async def release(self, claimed: ClaimedObject, *, rank: int | None = None) -> None:
        """End the lease and keep the mark, so that the object is claimed again. `rank` is its rank from now on."""
        update: dict[str, Any] = {"$unset": {"lease_until": "", "lease_token": ""}}
        lowered = rank is not None and await self._update(claimed, {**update, "$set": {"due_rank": rank}})
        if not lowered:  # a newer version keeps its own rank
            await objects_of(self._database, claimed.stored.kind).update_one(
                {"_id": claimed.stored.id, "lease_token": claimed.token}, update
            )

    async def postpone(self, claimed: ClaimedObject, *, now_ms: int) -> None:
        """End the lease of an object whose matching failed, and let it be claimed again after a pause.

        A newer version is not postponed.
        """
        held = {"_id": claimed.stored.id, "version": claimed.stored.version, "lease_token": claimed.token}
        await self._postpone(claimed.stored.kind, held, now_ms)
        await self.release(claimed)

    async def _postpone(self, kind: SubjectKind, held: Mapping[str, Any], now_ms: int) -> None:
        also = {"due_rank": RANK_FAILING, "lease_until": 0}
        update = postponement(now_ms=now_ms, failures="failures", until="retry_at", also=also)
        await objects_of(self._database, kind).update_one(held, update)

    async def mark_malformed(self, kind: SubjectKind, object_ids: Sequence[Any], *, now_ms: int) -> None:
        """Make malformed candidates due, so that they are counted, logged, and matched once they are corrected."""
        unmarked = {"_id": {"$in": list(object_ids)}, "due_at": {"$exists": False}}
        mark = {"$set": {"due_at": now_ms, "due_rank": RANK_FAILING}}
        await objects_of(self._database, kind).update_many(unmarked, mark)

    async def require(self, kind: SubjectKind, object_id: str, *, now_ms: int) -> None:
        """Make an object due again if it is not due now, also an inactive one or a tombstone."""
        unmarked = {"_id": object_id, "due_at": {"$not": {"$lte": now_ms}}}
        mark = {"$set": {"due_at": now_ms, "due_rank": RANK_FAN_OUT}}
        await objects_of(self._database, kind).update_one(unmarked, mark)

    async def failing(self) -> int:
        """Return the number of due objects that no other rank contains."""
        failing = {"due_at": {"$exists": True}, "due_rank": {"$nin": list(RANKS)}}
        return sum([await objects_of(self._database, kind).count_documents(failing) for kind in COLLECTIONS])

    async def _update(self, claimed: ClaimedObject, update: Mapping[str, Any]) -> bool:
        stored = claimed.stored
        held = {"_id": stored.id, "version": stored.version, "lease_token": claimed.token}
        done = await objects_of(self._database, stored.kind).update_one(held, update)
        return done.matched_count == 1

    async def waiting(self, *, now_ms: int) -> tuple[int, int]:
        """Return the number of due objects and the age of the oldest due mark in ms (0 without one).

        Failing objects are not among them.
        """
        number, oldest_ms = 0, now_ms
        for kind in COLLECTIONS:
            collection = objects_of(self._database, kind)
            for rank in RANKS:
                due = {"due_rank": rank, "due_at": {"$lte": now_ms}}
                number += await collection.count_documents(due)
                first = await collection.find_one(due, {"due_at": 1}, sort=[("due_at", ASCENDING)])
                oldest_ms = min(oldest_ms, first["due_at"] if first else now_ms)
        return number, now_ms - oldest_ms
