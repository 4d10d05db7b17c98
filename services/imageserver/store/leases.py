"""LeaseStore: which replica does what only one may do at a time."""

from typing import Final

from pymongo.errors import DuplicateKeyError

from services.backbone.mongo import Database

_COLLECTION: Final = "leases"


class LeaseStore:
    """Leases by name. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._leases = database[_COLLECTION]

    async def take(self, name: str, holder: str, *, now_ms: int, until_ms: int) -> bool:
        """Take or prolong a lease. Return False while another holder has it."""
        mine_or_over = {"_id": name, "$or": [{"holder": holder}, {"until": {"$lte": now_ms}}]}
        try:
            await self._leases.update_one(mine_or_over, {"$set": {"holder": holder, "until": until_ms}}, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    async def finish(self, name: str, *, now_ms: int, until_ms: int) -> None:
        """Record that the work of a lease is complete, and that nobody takes it before `until_ms`."""
        done = {"holder": "", "until": until_ms, "finished": now_ms}
        await self._leases.update_one({"_id": name}, {"$set": done})

    async def finished_ms(self, name: str) -> int | None:
        """Return the time when the work of a lease was last complete; None if never."""
        found = await self._leases.find_one({"_id": name})
        return None if found is None else found.get("finished")
