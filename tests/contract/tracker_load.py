"""Clients of a tracker: PacedLoad sends at a steady rate, Load repeats each event until it gets a 2xx."""

import asyncio
import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from deploy.develop.localstack.ports import LOOPBACK
from services.backbone import names
from tests.contract.tracker_process import OK, Tracker, wait_until


@dataclass
class Results:
    """The responses, errors and latencies of a load."""

    responded: list[str] = field(default_factory=list)
    """Ids with a 2xx response, in the order of the responses."""
    errors: list[str] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    def quantile_ms(self, part: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


_MOST_CONNECTIONS = 200
_LONGEST_IDLE_S = 2.0  # the tracker closes connections that are idle for 5 s


class PacedLoad:
    """Sends `per_s` events a second over kept-alive connections. Each event has its own id.

    The latency of a request begins at its scheduled time, so it includes the wait for a free connection.
    """

    def __init__(self, tracker: Tracker, *, per_s: int, name: str = "load") -> None:
        self._tracker = tracker
        self._per_s = per_s
        self._name = name
        self._free: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._room = asyncio.Semaphore(_MOST_CONNECTIONS)
        self._sent = 0
        self.results = Results()

    async def during(self, seconds: float) -> None:
        """Send for some seconds; return when all requests have a response."""
        loop = asyncio.get_running_loop()
        begin, sent = loop.time(), 0
        requests: set[asyncio.Task[None]] = set()
        while (elapsed := loop.time() - begin) < seconds:
            due = int(elapsed * self._per_s)
            while sent < due:
                sent += 1
                self._sent += 1
                request = asyncio.create_task(self._request(f"{self._name}-{self._sent}"))
                requests.add(request)
                request.add_done_callback(requests.discard)
            await asyncio.sleep(0.002)
        if requests:
            await asyncio.wait(requests)

    def close(self) -> None:
        for _, _, writer in self._free:
            writer.close()
        self._free.clear()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            since, reader, writer = self._free.pop()
            if time.monotonic() - since < _LONGEST_IDLE_S and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(LOOPBACK, self._tracker.port)

    async def _request(self, event_id: str) -> None:
        begin = time.perf_counter()
        async with self._room:
            if await self._send(event_id):
                self.results.latencies_ms.append(1000 * (time.perf_counter() - begin))
                self.results.responded.append(event_id)

    async def _send(self, event_id: str) -> bool:
        writer = None
        try:
            reader, writer = await self._connection()
            writer.write(b"GET /load?di=d HTTP/1.1\r\nHost: x\r\nIdempotency-Key: %s\r\n\r\n" % event_id.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise ConnectionRefusedError(head.split(b"\r\n")[0].decode())
            await reader.readexactly(len(OK))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.results.errors.append(f"{type(error).__name__} {error}")
            if writer is not None:
                writer.close()
            return False
        self._free.append((time.monotonic(), reader, writer))
        return True


class Memory:
    """Measures the growth of a process's memory within the block, by samples."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.grown_mb = 0.0

    async def __aenter__(self) -> Self:
        self._first = self._process.memory_info().rss
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sample()
        self._watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watching

    def _sample(self) -> None:
        self.grown_mb = max(self.grown_mb, (self._process.memory_info().rss - self._first) / 1e6)

    async def _watch(self) -> None:
        while True:
            self._sample()
            await asyncio.sleep(0.05)


class Disk:
    """Measures the time of small syncs to disk within the block, each from its scheduled time.

    So a stall of the disk counts once for each sync that was scheduled during the stall.
    """

    _EVERY_S = 0.02

    def __init__(self, folder: Path) -> None:
        self._file = folder / "probe"
        self._ended = threading.Event()
        self._took_ms: list[float] = []

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._probe)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def p99_ms(self) -> float:
        """The 99th percentile of the sync times."""
        return sorted(self._took_ms)[int(0.99 * (len(self._took_ms) - 1))]

    def _probe(self) -> None:
        due_s = time.monotonic()
        with self._file.open("wb", buffering=0) as file:
            while not self._ended.wait(max(0.0, due_s - time.monotonic())):
                file.write(b"probe")
                os.fdatasync(file.fileno())
                self._took_ms.append(1000 * (time.monotonic() - due_s))
                due_s += self._EVERY_S


class Load:
    """Clients that send events without pause. They repeat each event with the same id until it gets a 2xx."""

    def __init__(self, tracker: Tracker) -> None:
        self._port = tracker.port
        self.responded: set[str] = set()
        self.failures = 0

    async def during(self, *disturbances: Callable[[], None]) -> None:
        """Send before, during and after each disturbance."""
        clients = [asyncio.create_task(self._client(number)) for number in range(20)]
        try:
            await self._respond(300)
            for disturb in disturbances:
                failures = self.failures
                await asyncio.to_thread(disturb)
                assert self.failures > failures, "no client has sent during the disturbance"
                await self._respond(300)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.wait(clients)

    async def _respond(self, more: int) -> None:
        goal = len(self.responded) + more
        await asyncio.to_thread(wait_until, lambda: len(self.responded) >= goal, 30)

    async def _client(self, number: int) -> None:
        ids = (f"{number}-{turn}" for turn in itertools.count())
        event_id = next(ids)
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
                with contextlib.closing(writer):
                    while await self._send(event_id, reader, writer):
                        self.responded.add(event_id)
                        event_id = next(ids)
            self.failures += 1
            await asyncio.sleep(0.02)

    async def _send(self, event_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"GET /load HTTP/1.1\r\nHost: x\r\nIdempotency-Key: %s\r\n\r\n" % event_id.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            return False
        await reader.readexactly(len(OK))
        return True


def assert_all_accepted_is_stored(load: Load, tracker: Tracker) -> None:
    tracker.stop()
    accepted = int(tracker.redis.hget(names.LEDGER, "accepted") or 0)
    stored = [event.id for event in tracker.events()]
    assert load.responded - set(stored) == set()
    assert accepted == len(stored)
