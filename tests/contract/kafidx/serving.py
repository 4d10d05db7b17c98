"""A kafidx that runs in this process, and a client that reads its pages and sockets."""

import asyncio
import base64
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp

from services.backbone import names
from services.backbone.events import Device, Event, Location, encode_event
from services.backbone.kafka import EventProducer, Record
from services.kafidx.app import run
from services.kafidx.settings import Settings

PARTITIONS = 3
PASSWORD = "a secret of the test"
LOGIN = {"Authorization": "Basic " + base64.b64encode(f"kafidx:{PASSWORD}".encode()).decode()}
SESSION = "kafidx-0a1b2-7"
REFUSED, BAD_QUERY = 401, 4400


class Opened:
    """Counts the readers that were opened."""

    def __init__(self) -> None:
        self.readers = 0


class Kafidx:
    """A running kafidx and a client with its password."""

    def __init__(self, settings: Settings, http: aiohttp.ClientSession) -> None:
        self.url = f"http://127.0.0.1:{settings.port}"
        self._internal_url = f"http://127.0.0.1:{settings.internal_port}"
        self._http = http

    async def get(self, path: str, headers: Mapping[str, str] = LOGIN) -> tuple[int, str, Mapping[str, str]]:
        async with self._http.get(f"{self.url}{path}", headers=headers) as response:
            return response.status, await response.text(), response.headers

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """Ask the internal port, as a probe does."""
        async with self._http.get(f"{self._internal_url}/readyz") as response:
            return response.status, await response.json()

    async def json(self, path: str) -> Any:
        status, text, _ = await self.get(path)
        assert status == 200, text
        return json.loads(text)

    @contextlib.asynccontextmanager
    async def socket(self, query: str, headers: Mapping[str, str] = LOGIN) -> AsyncIterator["Socket"]:
        connecting = self._http.ws_connect(f"{self.url}/kafidx/socket?{query}", headers=headers, max_msg_size=0)
        async with connecting as socket:
            yield Socket(socket)


class Socket:
    """The client end of a live view's websocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.rows: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []

    @property
    def close_code(self) -> int | None:
        return self._socket.close_code

    async def frame(self, kind: str | None = None, *, limit_s: float = 20.0) -> dict[str, Any]:
        """Return the next frame, or the next one of this kind."""
        async with asyncio.timeout(limit_s):
            while True:
                message = await self._socket.receive()
                assert message.type is aiohttp.WSMsgType.TEXT, (message, self.frames[-3:])
                frame: dict[str, Any] = json.loads(message.data)
                self.frames.append(frame)
                self.rows += frame.get("rows", [])
                if kind in (None, frame["kind"]):
                    return frame

    async def rows_until(self, count: int, *, limit_s: float = 30.0) -> None:
        """Read until `count` rows have arrived. Fail as soon as a frame reports dropped rows."""
        try:
            async with asyncio.timeout(limit_s):
                while len(self.rows) < count:
                    frame = await self.frame()
                    assert not frame.get("dropped"), f"{len(self.rows)} of {count} rows, {frame}"
        except TimeoutError:
            stats = [frame for frame in self.frames if frame["kind"] == "stats"][-1:]
            raise AssertionError(f"{len(self.rows)} of {count} rows after {limit_s} s, {stats}") from None

    async def until(self, count: int, *, limit_s: float = 30.0) -> list[dict[str, Any]]:
        """Read until `count` rows and the stats after them have arrived. Return the rows in order of arrival."""
        await self.rows_until(count, limit_s=limit_s)
        stats = await self.frame("stats")
        assert stats["sent"] == len(self.rows)
        balanced(stats)
        return self.rows

    async def send(self, message: Mapping[str, Any]) -> None:
        await self._socket.send_str(json.dumps(message))

    async def closed(self) -> int | None:
        async with asyncio.timeout(10):
            while not self._socket.closed:
                await self._socket.receive()
        return self._socket.close_code


def balanced(stats: Mapping[str, Any]) -> None:
    assert stats["matched"] == stats["sent"] + stats["dropped"] + stats["queued"], stats


@contextlib.asynccontextmanager
async def serving(environ: Mapping[str, str]) -> AsyncIterator[Kafidx]:
    settings, stop = Settings.from_env(environ), asyncio.Event()
    running = asyncio.create_task(run(settings, stop))
    async with aiohttp.ClientSession() as http:
        kafidx = Kafidx(settings, http)
        try:
            async with asyncio.timeout(10):
                while not running.done():
                    with contextlib.suppress(aiohttp.ClientConnectionError):
                        await kafidx.get("/static/push/push.css")
                        break
                    await asyncio.sleep(0.05)
            yield kafidx
        finally:
            stop.set()
            await running


def event(number: int, **changed: Any) -> Event:
    fields: dict[str, Any] = {
        "type": ("view", "click", "offr")[number % 3],
        "id": f"id-{number}",
        "received_at_ms": time.time_ns() // 1_000_000,
        "queue_delay_ms": number % 300,
        "address": "cb007100",
        "location": Location("DE" if number % 2 else "AT", "Somewhere"),
        "device": Device("phone" if number % 5 else "bot"),
        "params": f"n={number}&q=city+bike",
    }
    return Event(**fields | changed)


async def produce(producer: EventProducer, events: Sequence[Event]) -> None:
    records = [Record(encode_event(each), key=each.id.encode()) for each in events]
    assert await producer.produce(names.EVENTS_TOPIC, records) == []


def numbers(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    found = [re.match(r"n=(\d+)&", row["params"]) for row in rows]
    return [int(match[1]) for match in found if match]


def each_once_in_order(rows: Sequence[Mapping[str, Any]]) -> None:
    """Assert that the offsets of each partition have no gap and no repeat."""
    offsets: dict[int, list[int]] = {}
    for row in rows:
        offsets.setdefault(row["p"], []).append(row["o"])
    for partition, found in offsets.items():
        assert found == list(range(found[0], found[0] + len(found))), partition
