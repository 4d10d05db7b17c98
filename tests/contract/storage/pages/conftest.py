"""One storage for each module, with a real MongoDB and stubs of its neighbours. Each test begins without objects."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future

import httpx
import pytest
from pymongo import MongoClient

from deploy.develop.localstack.mongo import MongoServer
from tests.contract.storage.api.serving import APP, SERVICE, Tracker, client_of, environ_of, storage_process
from tests.contract.storage.pages.serving import RunningStorage
from tests.contract.storage.storing import StubNotificationServer

_AT_ONCE = {"MATCH_GRACE_S": "0.05", "MATCH_POLL_S": "0.05", "STORAGE_EVENT_POLL_S": "0.05"}


@pytest.fixture(scope="module")
def storage(mongo_server: MongoServer) -> Iterator[RunningStorage]:
    """Run storage in a thread, so that its event loop can serve the tests of a module."""
    tracker, started, stop = Tracker(), Future[asyncio.AbstractEventLoop](), asyncio.Event()
    database = f"t-pages-{uuid.uuid4().hex[:12]}"
    with StubNotificationServer() as notifications:
        environ = environ_of(mongo_server.url, database, tracker.port) | {"STORAGE_NOTIFY_URL": notifications.url}

        async def serve() -> None:
            try:
                async with tracker.listening(), storage_process(environ | _AT_ONCE):
                    started.set_result(asyncio.get_running_loop())
                    await stop.wait()
            except BaseException as error:
                if not started.done():
                    started.set_exception(error)
                raise

        thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        loop = started.result(timeout=60)
        yield RunningStorage(environ, tracker, notifications)
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=60)
    with MongoClient[dict[str, object]](mongo_server.url) as client:
        client.drop_database(database)


@pytest.fixture
def empty(storage: RunningStorage) -> RunningStorage:
    """Return the storage of the module without any objects."""
    with MongoClient[dict[str, object]](storage.environ["STORAGE_MONGO_URL"]) as client:
        database = client[storage.environ["STORAGE_DATABASE"]]
        for name in database.list_collection_names():
            database[name].delete_many({})
    storage.tracker.requests.clear()
    storage.notifications.bodies.clear()
    return storage


@pytest.fixture
def running(empty: RunningStorage) -> dict[str, str]:
    return empty.environ


@pytest.fixture
async def service(running: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(running, SERVICE) as client:
        yield client


@pytest.fixture
async def phone(running: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(running, APP) as client:
        yield client
