"""The plans of the queries of assets among 5,000 ones, from the profiler of a real mongod."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from deploy.develop.localstack.mongo import MongoKind, MongoServer
from services.backbone.mongo import Database, connect
from services.imageserver.core.assets import Asset, to_document
from services.imageserver.core.listing import parse_query
from services.imageserver.store import AssetStore, create_indexes

COUNT = 5_000


def digest(number: int, what: str) -> str:
    return hashlib.sha256(f"{what} {number}".encode()).hexdigest()


def asset(number: int) -> Asset:
    keys = (digest(number, "key"),) if number % 2 else ()
    name = digest(number, "name")[:32]
    return Asset(digest(number, "id"), name, keys, {"icon": {"jpg": 1}}, 1, 1, "JPEG", 9, 1_000 * number)


@pytest.fixture
async def database(mongo_server: MongoServer, mongo_kind: MongoKind, unique_name: str) -> AsyncIterator[Database]:
    if mongo_kind != "mongod":
        pytest.skip("only a real mongod has a profiler")
    async with connect(mongo_server.url, service="test") as client:
        found = client[f"t-{unique_name[-40:]}"]
        await create_indexes(found)
        await found["assets"].insert_many([to_document(asset(number)) for number in range(COUNT)])
        await found.command("profile", 2)
        yield found
        await found.command("profile", 0)
        await client.drop_database(found.name)


async def list_of(found: AsyncIterator[Asset]) -> list[Asset]:
    return [each async for each in found]


QUERIES: dict[str, tuple[Callable[[AssetStore], Awaitable[Any]], int]] = {
    "an id": (lambda store: store.find(digest(7, "id")), 1),
    "a key": (lambda store: store.find(digest(7, "key")), 1),
    "an unknown name": (lambda store: store.find("4711"), 0),
    "a name of files": (lambda store: store.is_published(digest(7, "name")[:32]), 1),
    "a directory": (lambda store: list_of(store.in_directory("7f")), 40),
    "the newest": (lambda store: store.page(parse_query({})), 10),
    "a later page": (lambda store: store.page(parse_query({"after": f"2500000.{digest(2_500, 'id')}"})), 12),
    "the begin of an id": (lambda store: store.page(parse_query({"q": digest(7, "id")[:6]})), 2),
    "the begin of a key": (lambda store: store.page(parse_query({"q": digest(7, "key")[:6]})), 2),
    "a day": (lambda store: store.page(parse_query({"date": "1970-01-01"})), 10),
}
"""Each query, and the most documents that it may examine."""


async def test_each_query_is_served_by_an_index(database: Database) -> None:
    store = AssetStore(database)
    for name, (query, most) in QUERIES.items():
        await query(store)
        profiled = database["system.profile"].find({"op": "query", "ns": f"{database.name}.assets"})
        entry = (await profiled.to_list())[-1]
        assert "COLLSCAN" not in entry["planSummary"], f"{name}: {entry['planSummary']}"
        assert entry["docsExamined"] <= most, f"{name}: {entry['docsExamined']} documents, {entry['planSummary']}"
