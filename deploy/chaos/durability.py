"""Measure the loss of confirmed events at a kill of the server, and compute the loss at a power cut.

A kill of the process keeps the kernel's page cache, so written data is kept. A power cut can lose data that was not
synced. This module does not cut the power, but computes the loss: strace records the time of each write, and the begin
and the end of each sync. At a given moment, a power cut can lose the data that was written after the begin of the last
completed sync.
"""

import asyncio
import contextlib
import logging
import random
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from deploy.chaos import verify
from deploy.chaos.timeline import AtRisk, Call, Sample, at_risk, parse_trace
from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.processes import LocalProcess
from deploy.develop.localstack.redis import LocalRedis
from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from services.backbone import names
from services.backbone.kafka import EventProducer, KafkaUnavailable, Record, ensure_topics, topic_plans
from services.backbone.settings import KafkaSettings

_POLICIES = ("always", "everysec", "no")
_KILLS = 3
_MOMENTS = 20
_WRITERS = 4
_EVENTS_A_WRITE = 20
_WRITES_PER_S = 100.0
_EVENT_BYTES = 400
_WRITE_S = 3.0
_TRACED_S = 15.0
_SAMPLE_S = 0.002
_STRACE = (
    *("strace", "-D", "-f", "--seccomp-bpf", "-y", "-ttt", "-T", "-s", "0"),
    *("-e", "trace=fsync,fdatasync,write,writev,pwrite64", "-o"),
)
_LIST = "durability"


class LossRow(NamedTuple):
    """The loss of one store with one setting."""

    store: str
    confirmed: int
    """Confirmed events before the kills, in total."""
    lost_at_kill: int
    at_risk: Sequence[AtRisk]
    """Events that a power cut would lose, at random moments."""


class Store(Protocol):
    """A server that stores events."""

    name: str
    process: LocalProcess
    pattern: str
    """A pattern of the files that hold events."""

    async def start(self) -> None:
        """Start the server on its existing data. Returns when it responds."""

    async def write(self, ids: Sequence[str]) -> None:
        """Write events and return when they are confirmed. Raises OSError."""

    async def read(self) -> set[str]:
        """Return the ids of the stored events."""
        ...

    async def close(self) -> None:
        """Disconnect."""


class RedisStore:
    """Redis with one of its sync policies for the append-only file."""

    pattern = "*.aof"

    def __init__(self, policy: str, folder: Path) -> None:
        self.name = f"Redis, appendfsync {policy}"
        self._server = LocalRedis(data=folder / "data", log=folder / "redis.log")
        self._client: Redis = Redis.from_url(self._server.url)
        self.process = self._server.process
        self.process.command = (*self.process.command, "--appendfsync", policy)

    async def start(self) -> None:
        await self._client.connection_pool.disconnect()  # drop connections to a killed server
        self.process.start()
        await asyncio.to_thread(self._server.wait_ready)

    async def write(self, ids: Sequence[str]) -> None:
        try:
            await self._client.rpush(_LIST, *(_padded(event_id) for event_id in ids))
        except RedisError as error:
            raise ConnectionError from error

    async def read(self) -> set[str]:
        entries = await self._client.lrange(_LIST, 0, -1)
        return {entry.partition(b" ")[0].decode() for entry in entries if isinstance(entry, bytes)}

    async def close(self) -> None:
        """Disconnect."""
        await self._client.aclose()


class KafkaStore:
    """Apache Kafka with one broker and acks=all. The kernel decides when to sync."""

    name = "Kafka, acks=all, one replica"
    pattern = f"{names.EVENTS_TOPIC}-*/*.log"

    def __init__(self, folder: Path) -> None:
        self._broker = KafkaBroker("apache", data=folder / "kafka", log=folder / "kafka.log")
        self.process = self._broker.process
        settings = {"KAFKA_BOOTSTRAP_SERVERS": self._broker.bootstrap_servers}
        self._producer = EventProducer(KafkaSettings.from_env(settings))

    async def start(self) -> None:
        self.process.start()
        await asyncio.to_thread(self._broker.wait_ready)
        plans = topic_plans(partitions=1, replication=1, max_event_bytes=262_144)
        await ensure_topics(self._broker.bootstrap_servers, plans)

    async def write(self, ids: Sequence[str]) -> None:
        """Produce."""
        records = [Record(_padded(event_id), headers=((names.HEADER_EVENT_ID, event_id.encode()),)) for event_id in ids]
        try:
            await self._producer.produce(names.EVENTS_TOPIC, records)
        except KafkaUnavailable as error:
            raise ConnectionError from error

    async def read(self) -> set[str]:
        return set((await verify.read_topics(self._broker.bootstrap_servers)).records)

    async def close(self) -> None:
        """Disconnect."""
        await self._producer.__aexit__()


def measure_and_report() -> None:
    """Measure every store and print the table. Raises OperatorError without strace."""
    if shutil.which("strace") is None:
        raise OperatorError("strace is not installed: apt-get install strace")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="push-durability-") as folder:
        makers: dict[str, Callable[[Path], Store]] = {policy: partial(RedisStore, policy) for policy in _POLICIES}
        makers["kafka"] = KafkaStore
        rows = []
        for name, make in makers.items():
            console.print(f"{name}: {_KILLS} kills under load, then {_TRACED_S:.0f} s under strace")
            mount_point = Path(folder) / name
            mount_point.mkdir()
            rows.append(run_interruptible(measure(make, mount_point)))
    console.print(table(rows))
    console.print(f"load: {_WRITES_PER_S * _EVENTS_A_WRITE:,.0f} events of {_EVENT_BYTES} bytes a second")
    expire_s = int(Path("/proc/sys/vm/dirty_expire_centisecs").read_text()) / 100
    console.print(
        f"Without a sync the kernel writes data after {expire_s:.0f} s. The table does not count this data as safe."
    )


async def measure(make: Callable[[Path], Store], folder: Path) -> LossRow:
    """Kill a store under load several times, then trace its syncs. Its data is in `folder`."""
    store = make(folder / "kills")
    confirmed: set[str] = set()
    async with _stopping(store):
        for _ in range(_KILLS):
            await store.start()
            writing = _Writing(store)
            async with _written_by(writing):
                await asyncio.sleep(_WRITE_S)
                await asyncio.to_thread(store.process.kill)
            confirmed |= writing.confirmed
        await store.start()
        lost = confirmed - await store.read()
    watched = make(folder / "watched")
    trace = folder / "trace"
    watched.process.command = _traced(watched.process.command, trace)
    async with _stopping(watched):
        await watched.start()
        writing = _Writing(watched)
        with _sampling(writing) as samples:
            async with _written_by(writing):
                await asyncio.sleep(_TRACED_S)
    return LossRow(
        store.name, len(confirmed), len(lost), at_random_moments(samples, parse_trace(trace.read_text()), watched)
    )


def at_random_moments(samples: Sequence[Sample], calls: Sequence[Call], store: Store) -> list[AtRisk]:
    """Compute the loss at random moments. The first two seconds, before the first sync, are left out."""
    of_events = [call for call in calls if Path(call.path).match(store.pattern)]
    dice = random.Random(0)  # noqa: S311 - not a secret
    moments = [dice.uniform(samples[0].at_s + 2, samples[-1].at_s - 0.1) for _ in range(_MOMENTS)]
    return [at_risk(samples, of_events, moment_s) for moment_s in moments]


def table(rows: Sequence[LossRow]) -> Table:
    """Return the results as a table."""
    shown = Table(box=None)
    shown.add_column("store")
    titles = ("confirmed", "lost at SIGKILL", "lost at a power cut, median", "most", "oldest of them, median", "most")
    for title in titles:
        shown.add_column(title, justify="right")
    for row in rows:
        events, ages = [one.events for one in row.at_risk], [one.age_ms for one in row.at_risk]
        shown.add_row(
            row.store,
            f"{row.confirmed:,}",
            f"{row.lost_at_kill:,}",
            f"{median(events):,.0f} events",
            f"{max(events):,}",
            f"{median(ages):,.0f} ms",
            f"{max(ages):,.0f} ms",
        )
    return shown


class _Writing:
    """Writers that append at a fixed rate until the store fails or `end` is called."""

    def __init__(self, store: Store) -> None:
        self.confirmed: set[str] = set()
        self._store = store
        self._ending = False

    def end(self) -> None:
        """Stop writing. Do not use a cancellation, which the Redis client sometimes swallows on Python 3.11."""
        self._ending = True

    async def run(self) -> None:
        async with asyncio.TaskGroup() as writers:
            for _ in range(_WRITERS):
                writers.create_task(self._write())

    async def _write(self) -> None:
        while not self._ending:
            begun = time.monotonic()
            ids = [uuid.uuid4().hex for _ in range(_EVENTS_A_WRITE)]
            try:
                await self._store.write(ids)
            except OSError:
                return
            self.confirmed.update(ids)
            await asyncio.sleep(max(0.0, _WRITERS / _WRITES_PER_S - (time.monotonic() - begun)))


@contextlib.asynccontextmanager
async def _written_by(writing: _Writing) -> AsyncIterator[None]:
    task = asyncio.create_task(writing.run())
    try:
        yield
    finally:
        writing.end()
        await task


@contextlib.asynccontextmanager
async def _stopping(store: Store) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await store.close()
        await asyncio.to_thread(store.process.kill)


@contextlib.contextmanager
def _sampling(writing: _Writing) -> Iterator[list[Sample]]:
    """Sample in a separate thread, which the load does not delay. The last sample is taken at the end of the block."""
    samples: list[Sample] = []
    over = threading.Event()

    def sample() -> None:
        ending = False
        while not ending:
            ending = over.wait(_SAMPLE_S)
            samples.append(Sample(time.time(), len(writing.confirmed)))

    thread = threading.Thread(target=sample, name="sampler")
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def _traced(command: Sequence[str], trace: Path) -> tuple[str, ...]:
    """Put strace before the command of the server, and after the commands that prepare its data."""
    words = list(command)
    at = words.index("--then") + 1 if "--then" in words else 0
    return (*words[:at], *_STRACE, str(trace), *words[at:])


def _padded(event_id: str) -> bytes:
    # Random bytes can't be compressed: Kafka's batches are compressed.
    filling = random.Random(event_id).randbytes(_EVENT_BYTES - len(event_id) - 1)  # noqa: S311 - not a secret
    return event_id.encode() + b" " + filling
