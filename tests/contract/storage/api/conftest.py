"""storage with a real MongoDB and a stub of the tracker. Each test has its own database."""

from collections.abc import AsyncIterator

import httpx
import pytest

from deploy.develop.localstack.mongo import MongoServer
from services.storage.store import Database
from tests.contract.storage.api.serving import APP, SERVICE, Tracker, client_of, environ_of, storage_process


@pytest.fixture
async def tracker() -> AsyncIterator[Tracker]:
    stub = Tracker()
    async with stub.listening():
        yield stub


@pytest.fixture
def environ(mongo_server: MongoServer, database: Database, tracker: Tracker) -> dict[str, str]:
    return environ_of(mongo_server.url, database.name, tracker.port)


@pytest.fixture
async def running(environ: dict[str, str]) -> AsyncIterator[dict[str, str]]:
    async with storage_process(environ):
        yield environ


@pytest.fixture
async def service(running: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(running, SERVICE) as client:
        yield client


@pytest.fixture
async def phone(running: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client with the credentials of all phones, without a token."""
    async with client_of(running, APP) as client:
        yield client
