"""What the tests of the notificationserver share: processes, a receiver of callbacks, and a stub of the tracker."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.develop.localstack.ports import free_port
from services.backbone.process import http_server
from services.notificationserver.__main__ import serve
from services.notificationserver.settings import Settings

ROOT = Path(__file__).parents[3]
SERVICE = ("notify", "a secret of the test")
PHONE = ("app", "a secret of all phones")
CHAT_TOKEN = "token of the chat provider"
CHAT_APP = "app-17"


class Received(NamedTuple):
    """A request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"].replace("~", ".")  # as in the form, which takes longer to parse

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


class Receiver:
    """An HTTP server on all addresses of loopback. `respond` chooses the status and headers of each response."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.delay_s = 0.0
        self.hangs = False
        """It accepts and never responds."""
        self.respond: Callable[[Received], tuple[int, dict[str, str]]] = lambda _: (200, {})
        self.response_body = b""
        self.connections = 0
        self.most_open = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ids(self) -> list[str]:
        return [request.message_id for request in self.requests]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Receiver"]:
        tasks: set[asyncio.Task[None]] = set()

        async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            self.connections += 1
            self.most_open = max(self.most_open, len(tasks))
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._exchange(reader, writer)
            writer.close()
            tasks.discard(task)

        server = await asyncio.start_server(serve_connection, "0.0.0.0", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in set(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        received = Received(head[0].split(" ")[1], headers, body, time.time())
        if self.hangs:
            self.requests.append(received)
            await asyncio.sleep(3600)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        status, more = self.respond(received)
        self.requests.append(received)
        lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        head_out = f"HTTP/1.1 {status} X\r\nContent-Length: {len(self.response_body)}\r\n{lines}\r\n"
        writer.write(head_out.encode() + self.response_body)
        await writer.drain()

    async def until(self, count: int, *, limit_s: float = 20.0) -> None:
        """Wait until this number of different messages has arrived."""
        await until(lambda: len(set(self.ids)) >= count, limit_s=limit_s)


async def until(condition: Callable[[], bool], *, limit_s: float = 20.0) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - requests of other processes change it
            await asyncio.sleep(0.02)


class EventStub:
    """A stub of the tracker: keeps the events by id, and can be switched off."""

    def __init__(self) -> None:
        self.port = free_port()
        self.status = 200
        self.requests: list[tuple[str, str, list[tuple[str, str]]]] = []

    @property
    def ids(self) -> Counter[str]:
        return Counter(event_id for event_id, _, _ in self.requests)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        app = Starlette(routes=[Route("/w/{type}", self._take, methods=["POST"])])
        async with http_server(app, host="127.0.0.1", port=self.port, drain_s=1.0):
            yield

    async def _take(self, request: Request) -> Response:
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True)
        if self.status == 200:
            self.requests.append((request.headers["idempotency-key"], request.path_params["type"], pairs))
        return Response(status_code=self.status)


def environ_of(mongo_url: str, database: str, redis_url: str, tracker_port: int, **changed: str) -> dict[str, str]:
    """Return the variables of a process on ports of its own, which may reach loopback."""
    return {
        "NOTIFY_MONGO_URL": mongo_url,
        "NOTIFY_DATABASE": database,
        "NOTIFY_REDIS_URL": redis_url,
        "NOTIFY_PORT": str(free_port()),
        "INTERNAL_PORT": str(free_port()),
        "NOTIFY_PASSWORD": SERVICE[1],
        "NOTIFY_APP_PASSWORD": PHONE[1],
        "NOTIFY_TRACKER_URL": f"http://127.0.0.1:{tracker_port}",
        "NOTIFY_POLL_S": "0.1",
        "NOTIFY_ATTEMPT_TIMEOUT_S": "2",
        "NOTIFY_LEASE_S": "6",
        "OUTGOING_ALLOWED_NETWORKS": "127.0.0.0/8",
        "SENDBIRD_APP_ID": CHAT_APP,
        "SENDBIRD_API_TOKEN": CHAT_TOKEN,
        "RATE_LIMIT_SECONDS": "300",
        **changed,
    }


@contextlib.asynccontextmanager
async def running(environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Run the notificationserver in this process until the block ends."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(Settings.from_env(environ), stop))
    try:
        await wait_until_ready(environ, task)
        yield
    finally:
        stop.set()
        await task


async def wait_until_ready(environ: Mapping[str, str], task: asyncio.Task[None] | None = None) -> None:
    async with asyncio.timeout(110), httpx.AsyncClient() as http:
        while task is None or not task.done():
            with contextlib.suppress(httpx.HTTPError):
                if (await http.get(f"http://127.0.0.1:{environ['INTERNAL_PORT']}/readyz")).is_success:
                    return
            await asyncio.sleep(0.05)
    assert task is not None
    task.result()


@contextlib.contextmanager
def process(environ: Mapping[str, str], *kill_at: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the notificationserver in a process of its own. `kill_at`: a point and the passes before it kills itself."""
    command = [sys.executable, "-m", "tests.contract.notificationserver.server_process", *kill_at]
    started = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environ})
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def client_of(environ: Mapping[str, str], credentials: tuple[str, str] | None = SERVICE) -> httpx.AsyncClient:
    url = f"http://127.0.0.1:{environ['NOTIFY_PORT']}"
    return httpx.AsyncClient(base_url=url, auth=credentials, timeout=30.0)


def match(number: int = 1, *, match_id: str | None = None, **changed: Any) -> dict[str, Any]:
    """Return the body of a match of two devices, with different titles and locations."""
    offer = {
        "id": f"offer{number}",
        "device_id": f"offer-device-{number}",
        "title": f"Bread {number}",
        "lat": 52.51,
        "lng": 13.41,
        "radi": 500,
    }
    search = {
        "id": f"search{number}",
        "device_id": f"search-device-{number}",
        "title": f"Bakery {number}",
        "lat": 52.52,
        "lng": 13.42,
        "radi": 700,
    }
    named = {} if match_id is None else {"id": match_id}
    return {"category": "match_found", "offer": offer, "search": search, **named, **changed}


async def register(client: httpx.AsyncClient, device: str, **fields: Any) -> dict[str, Any]:
    response = await client.post("/register", json={"device_id": device, **fields})
    assert response.status_code == 200, response.text
    content: dict[str, Any] = response.json()
    return content


def wait_for(condition: Callable[[], bool], *, limit_s: float = 120.0) -> None:
    """Wait for a condition that may raise while the server starts."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        with contextlib.suppress(httpx.HTTPError):
            if condition():
                return
        time.sleep(0.1)
    raise TimeoutError
