"""Bulk writes that a majority of the MongoDB members has not acknowledged."""

import pytest
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError

from services.storage.store import Database, ObjectStore
from tests.contract.storage.storing import new_object


async def test_objects_without_a_majority_are_not_accepted(database: Database) -> None:
    alone = database.with_options(write_concern=WriteConcern(w=2))  # the replica set has one member
    with pytest.raises(BulkWriteError):
        await ObjectStore(alone).insert_many("offer", [new_object("offer", "o")])
