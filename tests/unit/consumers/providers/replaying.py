"""A provider that sends recorded responses, made after the public descriptions of the APIs, and a limit in memory."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone.outgoing import OutgoingClient
from services.consumers.providers.requests import Provider, RequestLimit

RECORDED = Path(__file__).with_name("recorded")


class ReplayedRequest(NamedTuple):
    """A request that the provider got."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class MemoryLimit(RequestLimit):
    """A limit without Redis: it permits `room` credits."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.wait_s = 30.0
        self.next_room = 0
        """The room after a first request for which there was none."""
        self.closed_s = 0.0

    async def take(self, cost: int = 1) -> float:
        if self.room < cost:
            self.room, self.next_room = self.next_room, 0
            return self.wait_s
        self.room -= cost
        return 0.0

    async def close(self, for_s: float) -> None:
        self.closed_s = for_s


class Replay:
    """Responds to each request with the same response."""

    def __init__(self, name: str, status: int, headers: dict[str, str]) -> None:
        self.content = (RECORDED / f"{name}.json").read_bytes() if name else b""
        self.status = status
        self.headers = headers
        self.limit = MemoryLimit()
        self.requests: list[ReplayedRequest] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        method, url, _ = head.split()
        path, query = urlsplit(url).path, dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        self.requests.append(ReplayedRequest(method, path, query, headers, json.loads(body) if body else None))
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = f"HTTP/1.1 {self.status} X\r\n{extra}Content-Length: {len(self.content)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + self.content)
        await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def replaying(
    name: str = "", *, status: int = 200, headers: dict[str, str] | None = None
) -> AsyncIterator[tuple[Replay, Provider, str]]:
    """Run a provider. Yield it, with the client of requests and the base URL."""
    replay, port = Replay(name, status, headers or {}), free_port()
    server = await asyncio.start_server(replay.serve, LOOPBACK, port)
    async with server, OutgoingClient(timeout_s=1.0, allowed=[ip_network("127.0.0.0/8")]) as client:
        yield replay, Provider("the provider", client, replay.limit), f"http://{LOOPBACK}:{port}/v3"
