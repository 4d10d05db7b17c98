"""bench.kafidx: rows that reach the sockets of many subscribers, and the CPU time of a row.

Events arrive at a fixed rate, as in use. So the bench compares how many rows a core can deliver: rows divided by
their CPU time.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from deploy.bench import report, results
from deploy.bench.entries import records
from deploy.bench.machine import Cores, Usage, divide
from deploy.bench.references.first import first_process
from deploy.bench.results import Round
from deploy.bench.rounds import Effort, in_turns
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.develop.localstack.ports import LOOPBACK, free_port, is_listening
from deploy.operate.access_log import read_log
from services.backbone import names
from services.backbone.events import Record
from services.backbone.kafka import EventProducer
from services.backbone.settings import KafkaSettings

FIRST_KAFIDX = "a consumer a socket, a message an event"

_SUBSCRIBERS = 20
_RATE = 500.0  # the reference sustains it with as many subscribers
_STEP_S = 0.02
_REST_S = 20.0
_NUMBER = re.compile(r"bench-(\d+)")


def bench_kafidx(effort: Effort, *, log: Path, kafka: KafkaChoice, json_output: bool) -> int:
    """Measure twenty subscribers at a fixed rate of events. Returns the exit code."""
    output = report.console(json_output=json_output)
    cores = divide()
    with LocalStack(kafka=kafka, say=output.print) as stack, contextlib.ExitStack() as cleanup:
        arena = _Arena(stack, cores, log)
        contenders = {"kafidx": arena.start_kafidx(), FIRST_KAFIDX: arena.start_first(cleanup)}
        rows = in_turns(contenders, effort, output)
    found = results.summed_up("kafidx", rows["kafidx"], {FIRST_KAFIDX: rows[FIRST_KAFIDX]})
    title = f"{_SUBSCRIBERS} subscribers, {_RATE:,.0f} events a second; the rate is rows per second of CPU time"
    return report.report(found, [results.table(title, rows)], output, effort, json_output=json_output, load=arena.load)


class _Arena:
    def __init__(self, stack: LocalStack, cores: Cores, log: Path) -> None:
        self._stack = stack
        self._cores = cores
        database = stack.environment()["GEOIP_DATABASE"]
        requests = list(read_log(log))
        self._records = list(records(requests, len(requests), database=Path(database) if database else None))
        self.load = f"{len(requests):,} lines"
        self._number = 0

    def start_kafidx(self) -> Callable[[float], Round]:
        """Start kafidx and return the function of its rounds."""
        service = self._stack.start_service("kafidx", within=self._cores.within)
        service.wait_until_ready()
        return lambda seconds: asyncio.run(self._round(service.pid, int(service.env["KAFIDX_PORT"]), seconds))

    def start_first(self, cleanup: contextlib.ExitStack) -> Callable[[float], Round]:
        """Start the simple live view and return the function of its rounds."""
        port = free_port()
        where = [str(port), self._stack.bootstrap_servers]
        process = first_process("kafidx", *where, within=self._cores.within, logs=self._stack.log_directory)
        cleanup.callback(process.stop)
        process.start()
        process.wait_until(lambda: is_listening(port), timeout_s=30)
        return lambda seconds: asyncio.run(self._round(process.pid, port, seconds))

    async def _round(self, pid: int, port: int, seconds: float) -> Round:
        settings = KafkaSettings.from_env(self._stack.environment())
        produced_s: dict[int, float] = {}
        async with EventProducer(settings) as producer, contextlib.AsyncExitStack() as sockets:
            watchers = [await sockets.enter_async_context(_watching(port, produced_s)) for _ in range(_SUBSCRIBERS)]
            reading = [asyncio.create_task(watcher.read()) for watcher in watchers]
            usage = Usage([pid])
            await self._produce(producer, produced_s, seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REST_S):
                    await asyncio.gather(*(watcher.has_seen(len(produced_s)) for watcher in watchers))
            rows, cpu_s, rss_mb = sum(watcher.seen for watcher in watchers), usage.cpu_s(), usage.rss_mb()
            for task in reading:
                task.cancel()
        latencies_s = [each for watcher in watchers for each in watcher.latencies_s]
        return replace(
            results.latency_round(latencies_s, rate=rows / cpu_s, lost=_SUBSCRIBERS * len(produced_s) - rows),
            cpu_us_per_event=1e6 * cpu_s / len(produced_s),
            rss_mb=rss_mb,
        )

    async def _produce(self, producer: EventProducer, produced_s: dict[int, float], seconds: float) -> None:
        begin_s = time.perf_counter()
        first = self._number
        while (elapsed_s := time.perf_counter() - begin_s) < seconds:
            due = first + int(elapsed_s * _RATE) - self._number
            numbers = range(self._number, self._number + due)
            self._number += due
            now_s = time.perf_counter()
            produced_s.update(dict.fromkeys(numbers, now_s))
            if due:
                await producer.produce(names.EVENTS_TOPIC, [self._numbered(number) for number in numbers])
            await asyncio.sleep(_STEP_S)

    def _numbered(self, number: int) -> Record:
        like = self._records[number % len(self._records)]
        fields = like.value.rsplit(b" ", 1)[0]
        return Record(fields + b" n=bench-%d" % number, like.key, like.headers, time.time_ns() // 1_000_000)


class _Watcher:
    """Counts the events that it receives. The number of an event identifies it, even if a message repeats it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, produced_s: dict[int, float]) -> None:
        self._socket = socket
        self._produced_s = produced_s
        self._seen: set[int] = set()
        self._came = asyncio.Event()
        self.latencies_s: list[float] = []
        """Time from handing an event to the producer until its arrival."""

    @property
    def seen(self) -> int:
        """Events of this round that arrived."""
        return len(self._seen)

    async def has_seen(self, count: int) -> None:
        """Return when this many events have arrived."""
        while self.seen < count:
            self._came.clear()
            await self._came.wait()

    async def read(self) -> None:
        """Read until cancelled."""
        async for message in self._socket:
            now_s = time.perf_counter()
            for text in _NUMBER.findall(str(message.data)):
                number = int(text)
                if number in self._produced_s and number not in self._seen:
                    self._seen.add(number)
                    self.latencies_s.append(now_s - self._produced_s[number])
            self._came.set()


@contextlib.asynccontextmanager
async def _watching(port: int, produced_s: dict[int, float]) -> AsyncIterator[_Watcher]:
    url = f"http://{LOOPBACK}:{port}/kafidx/socket?from=end"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, max_msg_size=0) as socket:
        first: Any = await socket.receive()
        if '"hello"' not in str(first.data):
            raise ConnectionError(f"unexpected first message of the socket: {first.data!r}")
        yield _Watcher(socket, produced_s)
