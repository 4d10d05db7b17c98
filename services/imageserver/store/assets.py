"""AssetStore: which assets are published. A document makes its files public; without one they are strays."""

from collections.abc import AsyncIterator
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError, ExecutionTimeout

from services.backbone.mongo import Database
from services.imageserver.core.assets import Asset, from_document, to_document
from services.imageserver.core.listing import AssetQuery
from services.imageserver.store.finder import AssetFinder

_COLLECTION: Final = "assets"
_STORED_BYTES_MS: Final = 2_000


async def create_indexes(database: Database) -> None:
    """Create the indexes of the assets. An existing index is kept. Raises PyMongoError."""
    await database[_COLLECTION].create_indexes(
        [
            # Partial: a unique index takes a missing field as a value, and most assets have no key.
            IndexModel(
                [("keys", ASCENDING)],
                name="keys",
                unique=True,
                partialFilterExpression={"keys": {"$exists": True}},
            ),
            IndexModel([("name", ASCENDING)], name="name", unique=True),
            IndexModel([("created", DESCENDING), ("_id", DESCENDING)], name="newest"),
        ]
    )


class AssetStore:
    """The published assets. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._assets = database[_COLLECTION]
        self._finder = AssetFinder(self._assets)

    async def find(self, key: str) -> Asset | None:
        """Return the asset of an id or a key. An id comes first: it names content, and a key is any name."""
        found = await self._finder.find(key)
        return None if found is None else from_document(found)

    async def confirm(self, asset: Asset) -> bool:
        """Wait until a majority has the document of a published asset. Return False if it was deleted meanwhile.

        A read can find a document that only one member has, and that a failover takes back. A write waits for the
        majority, also if it changes nothing.
        """
        same = {"name": asset.name}
        return (await self._assets.update_one({"_id": asset.id, **same}, {"$set": same})).matched_count == 1

    async def add_key(self, asset_id: str, key: str) -> bool:
        """Give an asset one more key. Return False if the asset is not published, or the key names another one."""
        try:
            done = await self._assets.update_one({"_id": asset_id}, {"$addToSet": {"keys": key}})
        except DuplicateKeyError:
            return False
        return done.matched_count == 1

    async def publish(self, asset: Asset) -> bool:
        """Publish an asset by one write. Return False if its id, or one of its keys, is published already."""
        try:
            await self._assets.insert_one(to_document(asset))
        except DuplicateKeyError:
            return False
        return True

    async def unpublish(self, asset: Asset) -> bool:
        """Delete an asset with all its keys. Return False if it is deleted already."""
        # The name too: the same bytes may have been deleted and uploaded again in between.
        deleted = await self._assets.delete_one({"_id": asset.id, "name": asset.name})
        return deleted.deleted_count == 1

    async def in_directory(self, directory: str) -> AsyncIterator[Asset]:
        """Yield the assets whose names begin with these two digits."""
        names = {"$gte": directory, "$lt": f"{directory}g"}  # `g` is after all hexadecimal digits
        async for document in self._assets.find({"name": names}):
            yield from_document(document)

    async def is_published(self, name: str) -> bool:
        """Return whether an asset has files of this name."""
        return await self._assets.find_one({"name": name}, {"_id": 1}) is not None

    async def count(self) -> int:
        """Return the number of assets, which may be off by a few after a crash of the database."""
        return await self._assets.estimated_document_count()

    async def page(self, query: AssetQuery) -> list[Asset]:
        """Return the first `per_page` assets of a query, newest first."""
        conditions: list[dict[str, Any]] = []
        if query.is_prefix:
            begins = {"$gte": query.name, "$lt": f"{query.name}g"}  # `g` is after all hexadecimal digits
            conditions.append({"$or": [{"_id": begins}, {"keys": {"$elemMatch": begins}}]})
        elif query.name:
            conditions.append({"$or": [{"_id": query.name}, {"keys": query.name}]})
        if query.from_ms is not None:
            conditions.append({"created": {"$gte": query.from_ms, "$lt": query.until_ms}})
        if query.after is not None:
            created, asset_id = query.after
            older = [{"created": {"$lt": created}}, {"created": created, "_id": {"$lt": asset_id}}]
            conditions.append({"$or": older})
        found = self._assets.find({"$and": conditions} if conditions else {}, limit=query.per_page)
        return [from_document(document) async for document in found.sort([("created", -1), ("_id", -1)])]

    async def stored_bytes(self) -> int | None:
        """Return the size of all files. It reads the whole collection; None if that takes over 2 s."""
        pipeline: list[dict[str, Any]] = [{"$group": {"_id": None, "bytes": {"$sum": "$stored"}}}]
        try:
            found = await (await self._assets.aggregate(pipeline, maxTimeMS=_STORED_BYTES_MS)).to_list()
        except ExecutionTimeout:
            return None
        return found[0]["bytes"] if found else 0
