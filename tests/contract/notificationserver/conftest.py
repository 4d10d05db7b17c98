"""The notificationserver on a real MongoDB and a real Redis, which are empty before each test."""

from collections.abc import AsyncIterator

import httpx
import pytest

from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.redis import LocalRedis
from services.backbone.mongo import Database, connect
from services.notificationserver.store import create_indexes
from services.notificationserver.store.database import DELIVERIES, MAPPINGS, MESSAGES, NOTIFICATIONS
from tests.contract.notificationserver.serving import EventStub, Receiver, client_of, environ_of, running
from tests.contract.notificationserver.stepping import Stepper, redis_client, stepping


@pytest.fixture
async def database(mongo_server: MongoServer) -> AsyncIterator[Database]:
    """Return an empty database with its indexes, which take a second to create."""
    async with connect(mongo_server.url, service="test") as client:
        shared = client["notify-tests"]
        await create_indexes(shared)
        for name in (NOTIFICATIONS, MAPPINGS, MESSAGES, DELIVERIES):
            await shared[name].delete_many({})
        yield shared


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


@pytest.fixture
async def stepper(environ: dict[str, str], database: Database, clean_redis: LocalRedis) -> AsyncIterator[Stepper]:
    """Return the loops of a notificationserver under a clock that the test sets."""
    async with redis_client(clean_redis) as redis, stepping(environ, database, redis) as steps:
        yield steps
