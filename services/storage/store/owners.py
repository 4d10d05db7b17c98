"""OwnerCounts: how many offers and searches each owner has."""

from typing import Any, Final, NamedTuple

from services.storage.store.database import COLLECTIONS, Database

_TIMEOUT_MS: Final = 10_000


class OwnerCount(NamedTuple):
    """The number of objects of an owner."""

    owner: str
    offers: int
    searches: int


class OwnersPage(NamedTuple):
    """Some owners, those with the most objects first, and the numbers of all."""

    rows: list[OwnerCount]
    owners: int
    offers: int
    searches: int


class OwnerCounts:
    """Counts of owners. Raises PyMongoError while the database is not available or takes over 10 s."""

    def __init__(self, database: Database) -> None:
        self._offers = database[COLLECTIONS["offer"]]

    async def page(self, *, number: int, limit: int) -> OwnersPage:
        """Return the owners of a page, from 0. It reads both collections."""
        counted = await self._offers.aggregate(
            [
                *_grouped("offers"),
                {"$unionWith": {"coll": COLLECTIONS["search"], "pipeline": _grouped("searches")}},
                {"$group": {"_id": "$_id", "offers": {"$sum": "$offers"}, "searches": {"$sum": "$searches"}}},
                {"$set": {"objects": {"$add": ["$offers", "$searches"]}}},
                {"$sort": {"objects": -1, "_id": 1}},
                {"$facet": {"rows": [{"$skip": number * limit}, {"$limit": limit}], "all": [_ALL]}},
            ],
            allowDiskUse=True,
            maxTimeMS=_TIMEOUT_MS,
        )
        found = (await counted.to_list())[0]
        rows = [OwnerCount(row["_id"], row["offers"], row["searches"]) for row in found["rows"]]
        total = found["all"][0] if found["all"] else {"owners": 0, "offers": 0, "searches": 0}
        return OwnersPage(rows, total["owners"], total["offers"], total["searches"])


_ALL: Final[dict[str, Any]] = {
    "$group": {
        "_id": None,
        "owners": {"$sum": 1},
        "offers": {"$sum": "$offers"},
        "searches": {"$sum": "$searches"},
    }
}


def _grouped(name: str) -> list[dict[str, Any]]:
    not_deleted = {"$match": {"deleted": {"$exists": False}}}
    return [not_deleted, {"$group": {"_id": "$owner", name: {"$sum": 1}}}]
