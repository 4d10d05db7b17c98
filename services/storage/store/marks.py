"""DueMarks: makes objects due without a change, so that they are matched again."""

from typing import Final

from services.storage.core.matching import SubjectKind
from services.storage.core.objects import RANK_FAN_OUT, RANK_SINGLE
from services.storage.store.database import Database, objects_of

_DELETED: Final = {"deleted": {"$exists": False}}


class DueMarks:
    """Due marks. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self, kind: SubjectKind, object_id: str, due_ms: int) -> bool:
        """Make an object due. Return whether there is such an active object. An earlier mark stays."""
        wanted = {"_id": object_id, "isActive": True, **_DELETED}
        mark = {"$min": {"due_at": due_ms}, "$set": {"due_rank": RANK_SINGLE}}
        done = await objects_of(self._database, kind).update_one(wanted, mark)
        return done.matched_count == 1

    async def mark_owner(self, kind: SubjectKind, owner: str, due_ms: int) -> int:
        """Make the active objects of an owner due that are valid, behind single changes. Return their number."""
        wanted = {
            "owner": {"$eq": owner},
            "isActive": True,
            "validfrom": {"$not": {"$gt": due_ms}},
            "validuntil": {"$not": {"$lte": due_ms}},
            "due_at": {"$not": {"$lte": due_ms}},  # an object with an end is due at its end
            **_DELETED,
        }
        mark = {"$set": {"due_at": due_ms, "due_rank": RANK_FAN_OUT}}
        done = await objects_of(self._database, kind).update_many(wanted, mark)
        return done.matched_count
