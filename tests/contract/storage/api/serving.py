"""A storage that runs in this process, a client of it, and a stub of the tracker."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

import httpx
from pymongo import MongoClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.develop.localstack.ports import free_port
from services.backbone.process import http_server
from services.storage.__main__ import serve
from services.storage.settings import Settings
from tests.contract.storage.storing import StubNotificationServer

SERVICE = ("storage", "a secret of the test")
APP = ("app", "a secret of all phones")
DEVICE = "0123456789abcdef"
BERLIN = (13.4, 52.5)


def environ_of(mongo_url: str, database: str, tracker_port: int) -> dict[str, str]:
    return {
        "STORAGE_MONGO_URL": mongo_url,
        "STORAGE_DATABASE": database,
        "STORAGE_PORT": str(free_port()),
        "INTERNAL_PORT": str(free_port()),
        "STORAGE_PASSWORD": SERVICE[1],
        "STORAGE_APP_PASSWORD": APP[1],
        "STORAGE_TRACKER_URL": f"http://127.0.0.1:{tracker_port}",
        "STORAGE_NOTIFY_URL": f"http://127.0.0.1:{free_port()}",
        "STORAGE_EVENT_POLL_S": "0.1",
    }


@contextlib.asynccontextmanager
async def storage_process(environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Run storage in this process until the block ends."""
    stop = asyncio.Event()
    running = asyncio.create_task(serve(Settings.from_env(environ), stop))
    try:
        await wait_until_ready(environ["INTERNAL_PORT"], running)
        yield
    finally:
        stop.set()
        await running


class SharedStorage:
    """A storage and a stub of the tracker in a thread with a loop of its own, for all tests of a session."""

    def __init__(self, mongo_url: str, database: str) -> None:
        self.tracker = Tracker()
        self.notifications = StubNotificationServer()
        self.environ = environ_of(mongo_url, database, self.tracker.port)
        self.environ["STORAGE_NOTIFY_URL"] = self.notifications.url
        self._client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
        self._database = self._client[database]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serve until the block ends. The database is dropped then."""
        ready, failures = threading.Event(), list[BaseException]()
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()

        async def serve_until_stopped() -> None:
            async with self.tracker.listening(), storage_process(self.environ):
                ready.set()
                await stop.wait()

        def run() -> None:
            try:
                loop.run_until_complete(serve_until_stopped())
            except BaseException as error:  # noqa: BLE001 - it is raised in the thread of the tests
                failures.append(error)
            finally:
                loop.close()
                ready.set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            with self.notifications:
                ready.wait(60)
                if not failures:
                    yield
                if thread.is_alive():
                    loop.call_soon_threadsafe(stop.set)
                thread.join(30)
        finally:
            self._client.drop_database(self._database.name)
            self._client.close()
            if failures:
                raise failures[0]

    def clear(self) -> None:
        """Delete all documents. Wait before that until no event is owed: a later test would get it."""
        self.tracker.status = 200
        until_s = time.monotonic() + 20.0
        owes = {"owed.id": {"$exists": True}}
        while any(self._database[name].find_one(owes) for name in ("offers", "searches")) or self._database[
            "owed_bulk"
        ].find_one({"ready_at": {"$exists": True}}):
            assert time.monotonic() < until_s, "events are still owed"
            time.sleep(0.01)
        for name in self._database.list_collection_names():
            self._database[name].delete_many({})
        self.tracker.requests.clear()
        self.notifications.bodies.clear()


async def wait_until_ready(port: str, running: asyncio.Task[None] | None = None) -> None:
    async with asyncio.timeout(30), httpx.AsyncClient() as http:
        while running is None or not running.done():
            with contextlib.suppress(httpx.HTTPError):
                if (await http.get(f"http://127.0.0.1:{port}/readyz")).is_success:
                    return
            await asyncio.sleep(0.05)
    assert running is not None
    running.result()


def client_of(
    environ: Mapping[str, str],
    credentials: tuple[str, str] | None,
    token: str = "",
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    headers = {"X-Device-Token": token} if token else {}
    url = f"http://127.0.0.1:{environ['STORAGE_PORT']}"
    return httpx.AsyncClient(base_url=url, auth=credentials, headers=headers, timeout=30.0, transport=transport)


def offer(owner: str = DEVICE, *, at: tuple[float, float] = BERLIN, **changed: Any) -> dict[str, Any]:
    document = {
        "owner": owner,
        "text": "Fresh bread",
        "keywords": ["Bread", "Bakery"],
        "location": {"type": "Point", "coordinates": list(at)},
        "radiusMeters": 500,
        "showLocation": True,
    }
    return document | changed


class Tracker:
    """A stub of the tracker: keeps the events by id, and can be switched off."""

    def __init__(self) -> None:
        self.port = free_port()
        self.status = 200
        self.statuses: dict[str, int] = {}
        """Other responses, by the id of the event."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """The id, the type and the parameters of each accepted request."""

    @property
    def ids(self) -> list[str]:
        return [event_id for event_id, _, _ in self.requests]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        app = Starlette(routes=[Route("/w/{type}", self._take, methods=["POST"])])
        async with http_server(app, host="127.0.0.1", port=self.port, drain_s=1.0):
            yield

    async def until(self, count: int, *, limit_s: float = 20.0) -> None:
        """Wait until this number of different events was accepted."""
        async with asyncio.timeout(limit_s):
            while len(set(self.ids)) < count:  # noqa: ASYNC110 - each accepted event changes it
                await asyncio.sleep(0.02)

    async def _take(self, request: Request) -> Response:
        body = (await request.body()).decode()
        event_id = request.headers["idempotency-key"]
        status = self.statuses.get(event_id, self.status)
        if status == 200:
            self.requests.append((event_id, request.path_params["type"], dict(parse_qsl(body))))
        return Response(status_code=status)


def documents(mongo_url: str, database: str, collection: str) -> list[dict[str, Any]]:
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    with client:
        return list(client[database][collection].find())
