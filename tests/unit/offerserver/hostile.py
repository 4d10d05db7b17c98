"""A local server that responds to each path as a test says, and the parts of a fetcher that reaches it."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network
from typing import Any, NamedTuple

from services.backbone.outgoing import OutgoingClient
from services.offerserver.providers.fetching import FeedFetcher, FetchLimits, HostTurns

LOOPBACK = (ip_network("127.0.0.0/8"),)
AGENT = "push-offers/1 (+https://push.example/contact)"
Speaker = Callable[[asyncio.StreamWriter], Awaitable[None]]


class SeenRequest(NamedTuple):
    """A request that the server got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class HostileServer:
    """Serves what is in `responses`: bytes as they are, or a function that writes them. A list: one after the other."""

    def __init__(self) -> None:
        self.responses: dict[str, Any] = {}
        self.requests: list[SeenRequest] = []
        self.open_now = 0
        self.most_open = 0
        self.port = 0
        self._serving: set[asyncio.Task[Any]] = set()

    def url(self, path: str = "/feed", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            self._serving.discard(task)

    async def aclose(self) -> None:
        for task in tuple(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = first.split(" ")
        self.requests.append(SeenRequest(method, path, headers, body))
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            await self._respond(path.partition("?")[0], writer)
        finally:
            self.open_now -= 1

    async def _respond(self, path: str, writer: asyncio.StreamWriter) -> None:
        response = self.responses.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        if isinstance(response, list):
            response = response.pop(0) if len(response) > 1 else response[0]
        if callable(response):
            await response(writer)
        else:
            writer.write(response)
        await writer.drain()


def reply(
    body: bytes | str = b"", status: int = 200, *, length: int | None = None, closes: bool = False, **headers: str
) -> bytes:
    """Return a response. `closes`: the end of the connection is the end of the body."""
    content = body.encode() if isinstance(body, str) else body
    size = len(content) if length is None else length
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    framing = {"Connection": "close"} if closes else {"Content-Length": str(size)}
    lines = [f"{name}: {value}" for name, value in (framing | names).items()]
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""]).encode("utf-8", "surrogateescape") + content


@contextlib.asynccontextmanager
async def hostile_server(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[HostileServer]:
    hostile = HostileServer()
    server = await asyncio.start_server(hostile.serve, "127.0.0.1", 0, ssl=tls)
    hostile.port = server.sockets[0].getsockname()[1]
    try:
        yield hostile
    finally:
        server.close()
        await hostile.aclose()


class MemoryTurns(HostTurns):
    """Turns within one process, and the delays that were asked for."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self.delays: list[float] = []

    @contextlib.asynccontextmanager
    async def turn(self, origin: str, *, delay_s: float) -> AsyncIterator[None]:
        self.delays.append(delay_s)
        async with self._locks.setdefault(origin, asyncio.Lock()):
            yield


class FetcherParts(NamedTuple):
    """A fetcher, and what tests look at."""

    fetcher: FeedFetcher
    turns: MemoryTurns
    pauses: list[float]


@contextlib.asynccontextmanager
async def fetching(
    *, limits: FetchLimits | None = None, stand_in_url: str | None = None, **options: Any
) -> AsyncIterator[FetcherParts]:
    """Yield a fetcher that may reach this machine and does not sleep."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    settings: dict[str, Any] = {"timeout_s": 10.0, "allowed": LOOPBACK} | options
    turns = MemoryTurns()
    async with OutgoingClient(**settings) as client:
        fetcher = FeedFetcher(
            client, turns, user_agent=AGENT, limits=limits or FetchLimits(), stand_in_url=stand_in_url, sleep=sleep
        )
        yield FetcherParts(fetcher, turns, pauses)
