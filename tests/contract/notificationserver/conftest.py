"""The notificationserver on a real MongoDB and a real Redis. Each test has its own database and an empty Redis."""

from collections.abc import AsyncIterator

import httpx
import pytest

from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.redis import LocalRedis
from services.backbone.mongo import Database, connect
from tests.contract.notificationserver.serving import EventStub, Receiver, client_of, environ_of, running


@pytest.fixture
async def database(mongo_server: MongoServer, unique_name: str) -> AsyncIterator[Database]:
    name = f"n-{unique_name[-48:]}"  # a name has at most 63 characters
    async with connect(mongo_server.url, service="test") as client:
        yield client[name]
        await client.drop_database(name)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listening() as listening:
        yield listening


@pytest.fixture
async def tracker() -> AsyncIterator[EventStub]:
    stub = EventStub()
    async with stub.listening():
        yield stub


@pytest.fixture
def environ(
    mongo_server: MongoServer, database: Database, clean_redis: LocalRedis, tracker: EventStub
) -> dict[str, str]:
    return environ_of(mongo_server.url, database.name, clean_redis.url, tracker.port)


@pytest.fixture
async def service(environ: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of a running notificationserver with the credentials of a service."""
    async with running(environ), client_of(environ) as client:
        yield client
