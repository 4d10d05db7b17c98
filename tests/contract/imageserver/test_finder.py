"""Lookups that share queries: each gets its own result, and sees what was published before it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from pymongo.errors import PyMongoError
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.ports import free_port
from services.backbone.mongo import Database, connect
from services.imageserver.core.assets import Asset
from services.imageserver.store import AssetStore, create_indexes


class Finds(CommandListener):
    """Counts the queries, and the most at once."""

    def __init__(self) -> None:
        self.count = self.running = self.most = 0

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find":
            self.count += 1
            self.running += 1
            self.most = max(self.most, self.running)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        self.running -= event.command_name == "find"

    def failed(self, event: CommandFailedEvent) -> None:
        self.running -= event.command_name == "find"


def digest(number: int, what: str) -> str:
    return hashlib.sha256(f"{what} {number}".encode()).hexdigest()


def asset(number: int, *keys: str) -> Asset:
    name = digest(number, "name")[:32]
    return Asset(digest(number, "id"), name, keys, {"icon": {"jpg": 1}}, 1, 1, "JPEG", 9, 1_000)


@pytest.fixture
def finds() -> Finds:
    return Finds()


@pytest.fixture
async def database(mongo_server: MongoServer, unique_name: str, finds: Finds) -> AsyncIterator[Database]:
    async with connect(mongo_server.url, service="test", event_listeners=[finds]) as client:
        found = client[f"t-{unique_name[-40:]}"]
        await create_indexes(found)
        yield found
        await client.drop_database(found.name)


async def test_lookups_at_once_share_queries_and_each_gets_its_asset(database: Database, finds: Finds) -> None:
    store = AssetStore(database)
    for number in range(200):
        assert await store.publish(asset(number, digest(number, "key")))
    wanted = [(digest(number, what), number) for number in range(200) for what in ("id", "key", "unknown")]
    found = await asyncio.gather(*(store.find(key) for key, _ in wanted))
    for (key, number), result in zip(wanted, found, strict=True):
        if key == digest(number, "unknown"):
            assert result is None
        else:
            assert result is not None
            assert result.id == digest(number, "id")
    assert finds.count == 12  # 600 keys, 50 in a query
    assert finds.most == 2


async def test_id_comes_before_the_same_key_of_another_asset(database: Database) -> None:
    store = AssetStore(database)
    assert await store.publish(asset(1, digest(2, "id")))
    first = await store.find(digest(2, "id"))
    assert await store.publish(asset(2))
    second = await store.find(digest(2, "id"))
    assert first is not None
    assert second is not None
    assert (first.id, second.id) == (digest(1, "id"), digest(2, "id"))


async def test_lookup_sees_what_was_published_and_unpublished_before_it(database: Database) -> None:
    """Other lookups of the same keys are always in work."""
    store, is_over = AssetStore(database), False

    async def keep_looking(number: int) -> None:
        while not is_over:
            await store.find(digest(number, "id"))

    async with asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(keep_looking(number))
        for number in range(20):
            assert await store.find(digest(number, "id")) is None
            assert await store.publish(asset(number))
            found = await store.find(digest(number, "id"))
            assert found is not None
            assert await store.unpublish(found)
            assert await store.find(digest(number, "id")) is None
        is_over = True


async def test_cancelled_lookup_does_not_disturb_others_of_its_query(database: Database) -> None:
    store = AssetStore(database)
    assert await store.publish(asset(1))
    lookups = [asyncio.create_task(store.find(digest(number, "id"))) for number in (1, 1, 2, 3)]
    await asyncio.sleep(0)
    lookups[0].cancel()
    lookups[2].cancel()
    found = await asyncio.gather(*lookups, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert isinstance(found[1], Asset)
    assert isinstance(found[2], asyncio.CancelledError)
    assert found[3] is None


async def test_each_lookup_of_a_failed_query_gets_the_error() -> None:
    url = f"mongodb://127.0.0.1:{free_port()}/?serverSelectionTimeoutMS=100"
    async with connect(url, service="test") as client:
        store = AssetStore(client["nothing"])
        found = await asyncio.gather(*(store.find(str(number)) for number in range(120)), return_exceptions=True)
    assert len(found) == 120
    assert all(isinstance(each, PyMongoError) for each in found)
