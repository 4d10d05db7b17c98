"""storage with a real MongoDB and a stub of the tracker.

All tests of a file share one storage; its database is emptied after each test. It ends with the file, because an idle
storage and its MongoDB take a tenth of a core. A test that stops storage, or counts
its memory, starts one of its own (`serving.storage_process`, `own_environ`).
"""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from deploy.develop.localstack.mongo import MongoServer
from services.storage.store import Database
from tests.contract.storage.api.serving import APP, SERVICE, SharedStorage, Tracker, client_of, environ_of


@pytest.fixture(scope="module")
def shared_storage(mongo_server: MongoServer) -> Iterator[SharedStorage]:
    shared = SharedStorage(mongo_server.url, "t-shared-storage")
    with shared.running():
        yield shared


@pytest.fixture
def running(shared_storage: SharedStorage) -> Iterator[dict[str, str]]:
    """Yield the settings of the shared storage."""
    yield shared_storage.environ
    shared_storage.clear()


@pytest.fixture
def tracker(shared_storage: SharedStorage, running: dict[str, str]) -> Tracker:  # noqa: ARG001 - it empties the stub
    return shared_storage.tracker


@pytest.fixture
async def service(running: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(running, SERVICE) as client:
        yield client


@pytest.fixture
async def phone(running: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client with the credentials of all phones, without a token."""
    async with client_of(running, APP) as client:
        yield client


@pytest.fixture
async def own_tracker() -> AsyncIterator[Tracker]:
    stub = Tracker()
    async with stub.listening():
        yield stub


@pytest.fixture
def own_environ(mongo_server: MongoServer, database: Database, own_tracker: Tracker) -> dict[str, str]:
    """Return the settings of a storage that the test starts itself, with an empty database."""
    return environ_of(mongo_server.url, database.name, own_tracker.port)
