"""Load for kafidx: events at a steady rate, subscribers that read, and subscribers that never read.

KAFIDX_LOAD_RATE (events/s, 5000), KAFIDX_LOAD_SECONDS (60), KAFIDX_LOAD_SUBSCRIBERS (20) and KAFIDX_LOAD_STUCK (the
number of them that never read, 1) change the load.
"""

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import psutil

from services.backbone import names
from services.backbone.events import Device, Event, Location, encode_event
from services.backbone.kafka import EventProducer, Record

RATE = int(os.environ.get("KAFIDX_LOAD_RATE", "5000"))
SECONDS = float(os.environ.get("KAFIDX_LOAD_SECONDS", "60"))
SUBSCRIBERS = int(os.environ.get("KAFIDX_LOAD_SUBSCRIBERS", "20"))
STUCK = int(os.environ.get("KAFIDX_LOAD_STUCK", "1"))
MB = 1024 * 1024
MAX_STUCK_MB = 20
_STEP_S = 0.05
_SAMPLE_S = 0.2


class Subscriber:
    """Counts the rows of a socket. It does not decode them, since that takes more CPU time than kafidx itself."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws
        self.rows = 0
        self.stats: dict[str, Any] = {}
        self.unbalanced: list[dict[str, Any]] = []
        """The stats frames in which matched is not equal to sent + dropped + queued."""

    async def read(self) -> None:
        async for message in self._ws:
            if message.data.startswith('{"kind":"rows"'):
                self.rows += message.data.count('{"t":"')
            elif message.data.startswith('{"kind":"stats"'):
                self.stats = json.loads(message.data)
                if self.stats["matched"] != self.stats["sent"] + self.stats["dropped"] + self.stats["queued"]:
                    self.unbalanced.append(self.stats)

    async def until(self, count: int, *, limit_s: float) -> None:
        """Wait until `count` events have matched and all of their rows have arrived or were dropped."""
        deadline_s = time.monotonic() + limit_s
        while time.monotonic() < deadline_s and not self._has_all(count):  # noqa: ASYNC110 - the condition has no event to wait for
            await asyncio.sleep(0.1)

    def ledger(self) -> dict[str, int]:
        """Return the counts of the last stats frame and the number of rows that have arrived."""
        return {name: self.stats.get(name, -1) for name in ("matched", "sent", "dropped", "queued")} | {
            "rows": self.rows
        }

    def _has_all(self, count: int) -> bool:
        stats = self.stats
        return bool(stats) and stats["matched"] >= count and not stats["queued"] and stats["sent"] == self.rows


class MemoryOf:
    """The memory of a process, sampled five times a second."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.peak = self.now()

    def now(self) -> int:
        """Return the resident bytes."""
        resident: int = self._process.memory_info().rss
        return resident

    def cpu_s(self) -> float:
        """Return the CPU time of the process."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    async def sample(self) -> None:
        """Update the peak until the task is cancelled."""
        while True:
            self.peak = max(self.peak, self.now())
            await asyncio.sleep(_SAMPLE_S)


def payload(number: int) -> bytes:
    # 300 bytes, the size of a real event
    return encode_event(
        Event(
            type=("view", "click", "offr", "geo")[number % 4],
            id=f"0199c0de-0000-7000-8000-{number:012d}",
            received_at_ms=time.time_ns() // 1_000_000,
            queue_delay_ms=3,
            host="trk.example.org",
            pod="10.0.0.7",
            address="cb007100",
            location=Location("DE", "Berlin"),
            device=Device("phone", "Pixel 9", "Android", "16", "Chrome Mobile", "142.0"),
            params=f"n={number}&di=device-{number % 500:04d}&lt=52.5200&lg=13.4050&q=city+bike&page=results",
        )
    )


async def produce(producer: EventProducer, *, seconds: float = SECONDS) -> int:
    """Write RATE events a second. Return their number."""
    sent, begun_s = 0, time.monotonic()
    while (elapsed_s := time.monotonic() - begun_s) < seconds:
        due = min(int((elapsed_s + _STEP_S) * RATE) - sent, RATE)
        records = [Record(payload(number), key=b"%d" % (number % 500)) for number in range(sent, sent + due)]
        assert await producer.produce(names.EVENTS_TOPIC, records) == []
        sent += due
        await asyncio.sleep(max(0.0, begun_s + sent / RATE - _STEP_S - time.monotonic()))
    return sent


@contextlib.asynccontextmanager
async def open_socket(url: str, *, small_buffer: bool = False) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Open a socket that starts at the end of the topic. Its small receive buffer lets kafidx detect a stuck client
    earlier."""

    def small(address: Any) -> socket.socket:
        opened = socket.socket(address[0], address[1], address[2])
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        return opened

    connector = aiohttp.TCPConnector(limit=0, socket_factory=small if small_buffer else None)
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.ws_connect(f"{url}/kafidx/socket?from=end", max_msg_size=0) as ws,
    ):
        assert json.loads((await ws.receive()).data)["kind"] == "hello"
        yield ws


def assert_nothing_missed(readers: Sequence[Subscriber], count: int) -> None:
    for reader in readers:
        assert reader.ledger() == {"matched": count, "sent": count, "dropped": 0, "queued": 0, "rows": count}
        assert reader.unbalanced == []


def assert_all_accounted_for(late: Sequence[Subscriber], count: int) -> None:
    """Assert that each event was either sent to a stuck subscriber or counted as dropped."""
    for reader in late:
        ledger = reader.ledger()
        assert (ledger["matched"], ledger["sent"]) == (count, reader.rows)
        assert ledger["matched"] == ledger["sent"] + ledger["dropped"] + ledger["queued"]
        assert reader.unbalanced == []
