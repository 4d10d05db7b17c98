"""LeaseStore: which replica does the work that only one may do at a time."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from pymongo.errors import DuplicateKeyError

from services.backbone.mongo import Database

_COLLECTION: Final = "leases"


class LeaseHistory(NamedTuple):
    """The work of a lease, over all holders."""

    started_ms: int
    """When a holder first took it."""
    finished_ms: int | None
    """When its work was last complete; None if never."""
    results: Mapping[str, int]
    """The results of its last complete work."""


class LeaseStore:
    """Leases by name. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._leases = database[_COLLECTION]

    async def take(self, name: str, holder: str, *, now_ms: int, until_ms: int) -> bool:
        """Take or prolong a lease. Return False while another holder has it."""
        mine_or_over = {"_id": name, "$or": [{"holder": holder}, {"until": {"$lte": now_ms}}]}
        taken = {"$set": {"holder": holder, "until": until_ms}, "$setOnInsert": {"started": now_ms}}
        try:
            await self._leases.update_one(mine_or_over, taken, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    async def finish(self, name: str, holder: str, results: Mapping[str, int], *, now_ms: int, until_ms: int) -> None:
        """Record the results of the complete work of a lease, and that nobody takes it before `until_ms`.

        Nothing is recorded if another holder has it by now.
        """
        done = {"holder": "", "until": until_ms, "finished": now_ms, "results": dict(results)}
        await self._leases.update_one({"_id": name, "holder": holder}, {"$set": done})

    async def history(self, name: str) -> LeaseHistory | None:
        """Return the history of a lease; None if no holder has ever taken it."""
        found = await self._leases.find_one({"_id": name})
        if found is None:
            return None
        return LeaseHistory(found["started"], found.get("finished"), found.get("results", {}))
