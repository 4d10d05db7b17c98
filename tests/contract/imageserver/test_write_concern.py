"""Documents that a majority of the MongoDB members has not acknowledged."""

import pytest
from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from services.backbone.mongo import Database
from services.imageserver.core.assets import Asset
from services.imageserver.store import AssetStore

ASSET = Asset("a" * 64, "b" * 32, (), {"icon": {"jpg": 4}}, 1, 1, "JPEG", 1, 1)


async def test_known_asset_without_a_majority_is_not_confirmed(database: Database) -> None:
    await AssetStore(database).publish(ASSET)
    alone = AssetStore(database.with_options(write_concern=WriteConcern(w=2)))  # the replica set has one member
    assert await alone.find(ASSET.id) == ASSET
    with pytest.raises(OperationFailure):
        await alone.confirm(ASSET)


async def test_asset_that_was_deleted_or_replaced_is_not_confirmed(database: Database) -> None:
    store = AssetStore(database)
    assert not await store.confirm(ASSET)
    await store.publish(ASSET._replace(name="c" * 32))
    assert not await store.confirm(ASSET)
    assert await store.confirm(ASSET._replace(name="c" * 32))
