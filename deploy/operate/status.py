"""The state of a running system: the books, the counters and how far they are behind, for people and for machines."""

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from redis.asyncio import Redis
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from deploy.errors import OperatorError
from deploy.operate.endpoints import DOES_IT_RUN, Endpoints
from services.backbone import histogram, names
from services.backbone.counters import CounterStore, Progress
from services.backbone.kafka import KafkaUnavailable, TopicOffsets
from services.backbone.queue import Books, EventQueue, QueueError

TYPES_COUNTER = "event_counter"
TIMING_COUNTER = "timing_stats"
TOP_TYPES = 10
DELAYS = {"tsavg": "receipt to counted", "klag": "time in Redis"}
_REDIS_TIMEOUT_S = 3.0


class StatusError(OperatorError):
    """The books can't be read; the message says which server did not answer, and where."""


class Status(NamedTuple):
    """The whole pipeline at one moment."""

    books: Books
    in_topic: int | None
    """Records in the topic of events, over all partitions; None when Kafka does not tell."""
    counted: Mapping[str, Progress]
    """How far each statistics consumer has come, by name."""
    lag: Mapping[str, int | None]
    """Records in the topic that a consumer has not counted yet, by name; None when Kafka does not tell."""
    kafka_fault: str = ""
    """Why Kafka does not tell."""

    @property
    def copies(self) -> int | None:
        """Records in the topic beyond those that kafkastore has confirmed: in flight, or there twice after a crash."""
        return None if self.in_topic is None else max(0, self.in_topic - self.books.produced)

    @property
    def exit_code(self) -> int:
        """0 when all answers and the books balance."""
        return 1 if self.kafka_fault or self.books.unaccounted else 0

    @property
    def counted_by_all(self) -> int:
        """Events that every statistics consumer has counted: the slowest one decides."""
        return min((progress.events for progress in self.counted.values()), default=0)

    @property
    def passed_by_all(self) -> int:
        """Records of the topic that every statistics consumer has counted or dropped: the slowest one decides."""
        return min((progress.passed for progress in self.counted.values()), default=0)


class StatusReader:
    """Keeps its connections open between readings. Use it as an async context manager."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        options: dict[str, Any] = {"socket_timeout": _REDIS_TIMEOUT_S, "socket_connect_timeout": _REDIS_TIMEOUT_S}
        self._queue_servers = [Redis.from_url(url, **options) for url in endpoints.queue_urls]
        self._counter_server = Redis.from_url(endpoints.counters_url, decode_responses=True, **options)
        self._offsets = TopicOffsets(endpoints.bootstrap_servers, names.EVENTS_TOPIC)

    async def __aenter__(self) -> Self:
        """Return the reader; it connects when it is asked."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._offsets.__aexit__()
        for server in (*self._queue_servers, self._counter_server):
            await server.aclose()

    async def read(self) -> Status:
        """Read everything anew. Raises StatusError."""
        try:
            # First: what comes while the rest is read would look like lag, and like copies.
            ends, fault = await self._ends()
            ledgers = await asyncio.gather(*(EventQueue(server).books() for server in self._queue_servers))
            store = CounterStore(self._counter_server)
            counters = [description.name for description in await store.descriptions()]
            progress = await asyncio.gather(*(store.progress(name) for name in counters))
            positions = await asyncio.gather(*(store.positions(name) for name in counters))
        except (QueueError, OSError) as error:
            addresses = {_without_password(url) for url in (*self._endpoints.queue_urls, self._endpoints.counters_url)}
            raise StatusError(
                f"Redis does not answer at {', '.join(sorted(addresses))}: {error}\n{DOES_IT_RUN}"
            ) from error
        books = Books(*(sum(column) for column in zip(*ledgers, strict=True)))
        counted = dict(zip(counters, progress, strict=True))
        if ends is None:
            return Status(books, None, counted, dict.fromkeys(counters), fault)
        lag: dict[str, int | None] = {
            name: sum(max(0, end - position.get(partition, 0)) for partition, end in ends.items())
            for name, position in zip(counters, positions, strict=True)
        }
        return Status(books, sum(ends.values()), counted, lag)

    async def _ends(self) -> tuple[dict[int, int] | None, str]:
        """Return where each partition ends, or None and why nobody tells."""
        try:
            return await self._offsets.ends(), ""
        except KafkaUnavailable as error:
            return None, f"Kafka does not answer at {self._endpoints.bootstrap_servers}: {error}"

    async def top_types(self) -> dict[str, int]:
        """Return the most frequent event types and their counts."""
        counts = await CounterStore(self._counter_server).counts(TYPES_COUNTER)
        return dict(list(counts.items())[:TOP_TYPES])

    async def timing(self) -> dict[str, float]:
        """Return average and percentiles in ms of receipt-to-consumer (`tsavg`) and of the time in Redis (`klag`)."""
        return histogram.summary(await CounterStore(self._counter_server).counts(TIMING_COUNTER))


def as_json(status: Status, top_types: Mapping[str, int], timing: Mapping[str, float]) -> dict[str, Any]:
    """Return the status as plain values; the keys are a promise to scripts."""
    books = status.books
    return {
        "books": {
            "accepted": books.accepted,
            "produced": books.produced,
            "dead": books.dead,
            "waiting": books.waiting,
            "balanced": books.unaccounted == 0,
        },
        "kafka": status.kafka_fault or "ok",
        "in_topic": status.in_topic,
        "copies": status.copies,
        "counters": {
            name: {
                "counted": progress.events,
                "copies": progress.copies,
                "lag": status.lag[name],
                "last_received_ms": progress.last_received_ms,
            }
            for name, progress in status.counted.items()
        },
        "timing_ms": {name: value for name, value in timing.items() if name != histogram.TOTAL_LABEL},
        "top_types": dict(top_types),
    }


def render(status: Status, top_types: Mapping[str, int], timing: Mapping[str, float]) -> Group:
    """Lay the status out for a terminal."""
    books = status.books
    verdict = (
        Text("balanced", style="green")
        if books.unaccounted == 0
        else Text(f"{books.unaccounted:,} UNACCOUNTED FOR", style="bold red")
    )
    equation = (
        f"accepted {books.accepted:,} = produced {books.produced:,} + dead {books.dead:,} + waiting {books.waiting:,}  "
    )
    consumers = Table("consumer", box=None)
    for title in ("counted", "copies dropped", "lag"):
        consumers.add_column(title, justify="right")
    for name, progress in status.counted.items():
        consumers.add_row(name, f"{progress.events:,}", f"{progress.copies:,}", figure(status.lag[name]))
    if not status.counted:
        consumers.add_row("none has registered yet", "", "", "")
    delays = Table("delay in ms", box=None)
    for title in ("average", *histogram.QUANTILES):
        delays.add_column(title, justify="right")
    for series, meaning in DELAYS.items():
        figures = (timing.get(name, 0.0) for name in (series, *(f"{series} {name}" for name in histogram.QUANTILES)))
        delays.add_row(meaning, *(f"{figure:,.0f}" for figure in figures))
    types = Table("most frequent types", box=None)
    types.add_column("events", justify="right")
    for label, count in top_types.items():
        types.add_row(Text(label), f"{count:,}")
    topic = Text(f"in topic  {figure(status.in_topic)}, of these in flight or copies {figure(status.copies)}")
    if status.kafka_fault:
        topic = Text(status.kafka_fault, style="bold red")
    parts = (Text.assemble("books     ", equation, verdict), topic, Text(), consumers)
    return Group(*parts, *((Text(), delays, Text(), types) if top_types else ()))


def figure(number: int | None) -> str:
    """Write a number for people; what is not known is a question mark, never 0."""
    return "?" if number is None else f"{number:,}"


async def show(endpoints: Endpoints, *, json_output: bool) -> int:
    """Print the status once; returns the exit code, 0 when all is well. Raises StatusError when Redis can't be read."""
    # What the client logs while it looks for a broker is said in one sentence, by StatusError.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    async with StatusReader(endpoints) as reader:
        status = await reader.read()
        top_types = await reader.top_types()
        timing = await reader.timing()
    console = Console()
    if json_output:
        console.print_json(data=as_json(status, top_types, timing), indent=None)
    else:
        console.print(render(status, top_types, timing))
    return status.exit_code


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//", url)
