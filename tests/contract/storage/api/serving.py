"""A storage that runs in this process, a client of it, and a stub of the tracker."""

import asyncio
import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
from pymongo import MongoClient

from deploy.develop.localstack.ports import free_port
from deploy.develop.localstack.processes import LocalProcess
from services.storage.__main__ import serve
from services.storage.settings import Settings
from tests.contract.storage.storing import StubNotificationServer

ROOT = Path(__file__).parents[4]
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
    """A storage process, and stubs of the tracker and the notificationserver, for the tests of a file.

    It is a process and not a thread: hypothesis refuses that another thread uses `random` while it draws.
    """

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
        command = [sys.executable, "-m", "services.storage"]
        with self.tracker.served(), self.notifications, tempfile.TemporaryDirectory(prefix="push-storage-") as folder:
            log = Path(folder) / "storage.log"
            process = LocalProcess("storage", command, log=log, env=os.environ | self.environ, cwd=ROOT)
            try:
                process.start()
                process.wait_until(self._is_ready, timeout_s=100)
                yield
            finally:
                process.stop()
                self._client.drop_database(self._database.name)
                self._client.close()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.environ['INTERNAL_PORT']}/readyz").is_success
        except httpx.HTTPError:
            return False

    def clear(self) -> None:
        """Delete all documents. Wait before that until no event is owed: a later test would get it."""
        self.tracker.status = 200
        self.tracker.statuses.clear()
        until_s = time.monotonic() + 30.0
        while self._owes_events():
            assert time.monotonic() < until_s, "events are still owed"
            time.sleep(0.01)
        for name in self._database.list_collection_names():
            self._database[name].delete_many({})
        self.tracker.requests.clear()
        self.notifications.bodies.clear()

    def _owes_events(self) -> bool:
        owes = {"owed.id": {"$exists": True}}
        if any(self._database[name].find_one(owes) for name in ("offers", "searches")):
            return True
        return self._database["owed_bulk"].find_one({"ready_at": {"$exists": True}}) is not None


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

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """Serve in a thread until the block ends."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                event_id = self.headers["Idempotency-Key"]
                status = outer.statuses.get(event_id, outer.status)
                if status == 200:
                    outer.requests.append((event_id, self.path.removeprefix("/w/"), dict(parse_qsl(body))))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Serve until the block ends."""
        with self.served():
            yield

    async def until(self, count: int, *, limit_s: float = 20.0) -> None:
        """Wait until this number of different events was accepted."""
        async with asyncio.timeout(limit_s):
            while len(set(self.ids)) < count:  # noqa: ASYNC110 - the stub has no event for it
                await asyncio.sleep(0.02)


def documents(mongo_url: str, database: str, collection: str) -> list[dict[str, Any]]:
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    with client:
        return list(client[database][collection].find())
