"""A database for each test of storage, with its indexes."""

from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.develop.localstack.mongo import MongoServer
from services.backbone.clients import NotificationClient
from services.storage.store import Database, connect, create_indexes
from tests.contract.storage.storing import Clock, Storage, StubNotificationServer


@pytest.fixture
def database_name(unique_name: str) -> str:
    return f"t-{unique_name[-48:]}"  # a name has at most 63 characters


@pytest.fixture
async def database(mongo_server: MongoServer, database_name: str) -> AsyncIterator[Database]:
    async with connect(mongo_server.url) as client:
        await create_indexes(client[database_name])
        yield client[database_name]
        await client.drop_database(database_name)


@pytest.fixture
def notifications() -> Iterator[StubNotificationServer]:
    with StubNotificationServer() as server:
        yield server


@pytest.fixture
async def client(notifications: StubNotificationServer) -> AsyncIterator[NotificationClient]:
    async with NotificationClient(notifications.url) as client:
        yield client


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(database: Database, client: NotificationClient, clock: Clock) -> Storage:
    return Storage(database, client, now_ms=clock)
