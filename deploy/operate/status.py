"""The state of a running system for people and scripts: the ledger, the counters and their lag, and the actions."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from deploy.errors import OperatorError
from deploy.operate.actions_status import ActionsStatus, read_actions
from deploy.operate.endpoints import DOES_IT_RUN, Endpoints, without_password
from deploy.operate.storage_status import StorageStatus, read_storage
from services.backbone import histogram, names
from services.backbone.counters import CounterStore, Progress, position_error
from services.backbone.kafka import KafkaUnavailable, TopicOffsets
from services.backbone.queue import EventQueue, Ledger, QueueError
from services.backbone.redis import connect

TYPES_COUNTER = "event_counter"
TIMING_COUNTER = "timing_stats"
TOP_TYPES = 10
DELAYS = {"tsavg": "receipt to counted", "klag": "time in Redis"}
_REDIS_TIMEOUT_S = 3.0


class StatusError(OperatorError):
    """Redis does not respond. The message contains the addresses and the error."""


class Status(NamedTuple):
    """The state of the whole pipeline at one moment."""

    ledger: Ledger
    in_topic: int | None
    """Records in the topic of events, over all partitions. None when Kafka does not respond."""
    counted: Mapping[str, Progress]
    """Progress of each statistics consumer, by name."""
    lag: Mapping[str, int | None]
    """Records not yet counted, by consumer. None when Kafka does not respond or a position is invalid."""
    kafka_error: str = ""
    """The reason why Kafka could not be read. Empty when Kafka responds."""
    position_errors: tuple[str, ...] = ()
    """A sentence for each stored position that is invalid. The consumers do not count these partitions."""

    @property
    def duplicates(self) -> int | None:
        """Records in the topic beyond those that kafkastore confirmed: in flight, or written twice after a crash."""
        return None if self.in_topic is None else max(0, self.in_topic - self.ledger.produced)

    @property
    def exit_code(self) -> int:
        """0 when every server responds, the ledger balances and all positions are valid."""
        return 1 if self.kafka_error or self.ledger.unaccounted or self.position_errors else 0

    @property
    def counted_by_all(self) -> int:
        """Events that every statistics consumer has counted: the minimum over all."""
        return min((progress.events for progress in self.counted.values()), default=0)

    @property
    def passed_by_all(self) -> int:
        """Records that every statistics consumer has counted or dropped: the minimum over all."""
        return min((progress.passed for progress in self.counted.values()), default=0)


class StatusReader:
    """Reads the status over persistent connections. Use it as an async context manager."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._queue_servers = [connect(url, timeout_s=_REDIS_TIMEOUT_S, resend=True) for url in endpoints.queue_urls]
        self._counter_server = connect(endpoints.counters_url, timeout_s=_REDIS_TIMEOUT_S, resend=True, text="strict")
        self._offsets = TopicOffsets(endpoints.bootstrap_servers, names.EVENTS_TOPIC)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._offsets.__aexit__()
        for server in (*self._queue_servers, self._counter_server):
            await server.aclose()

    async def read(self) -> Status:
        """Return the current status. Raises StatusError."""
        try:
            # Read the end offsets first: records that arrive during the other reads would look like lag and duplicates.
            end_offsets, kafka_error = await self._end_offsets()
            ledgers = await asyncio.gather(*(EventQueue(server).ledger() for server in self._queue_servers))
            store = CounterStore(self._counter_server)
            counters = [description.name for description in await store.descriptions()]
            progress = await asyncio.gather(*(store.progress(name) for name in counters))
            positions = await asyncio.gather(*(store.read_positions(name) for name in counters))
        except (QueueError, OSError) as error:
            addresses = {without_password(url) for url in (*self._endpoints.queue_urls, self._endpoints.counters_url)}
            raise StatusError(
                f"Redis at {', '.join(sorted(addresses))} does not respond: {error}\n{DOES_IT_RUN}"
            ) from error
        ledger = Ledger(*(sum(column) for column in zip(*ledgers, strict=True)))
        counted = dict(zip(counters, progress, strict=True))
        errors = tuple(
            position_error(name, partition, value)
            for name, position in zip(counters, positions, strict=True)
            for partition, value in sorted(position.invalid.items())
        )
        if end_offsets is None:
            return Status(ledger, None, counted, dict.fromkeys(counters), kafka_error, errors)
        lag: dict[str, int | None] = {
            name: None
            if position.invalid
            else sum(max(0, end - position.offsets.get(partition, 0)) for partition, end in end_offsets.items())
            for name, position in zip(counters, positions, strict=True)
        }
        return Status(ledger, sum(end_offsets.values()), counted, lag, position_errors=errors)

    async def _end_offsets(self) -> tuple[dict[int, int] | None, str]:
        """Return the end offset of each partition, or None and the error."""
        try:
            return await self._offsets.ends(), ""
        except KafkaUnavailable as error:
            return None, f"Kafka at {self._endpoints.bootstrap_servers} does not respond: {error}"

    async def top_types(self) -> dict[str, int]:
        """Return the counts of the most frequent event types."""
        counts = await CounterStore(self._counter_server).counts(TYPES_COUNTER)
        return dict(list(counts.items())[:TOP_TYPES])

    async def timing(self) -> dict[str, float]:
        """Return average and percentiles in ms of receipt to counted (`tsavg`) and of the time in Redis (`klag`)."""
        return histogram.summary(await CounterStore(self._counter_server).counts(TIMING_COUNTER))


def as_json(
    status: Status,
    top_types: Mapping[str, int],
    timing: Mapping[str, float],
    storage: StorageStatus | None = None,
    actions: ActionsStatus | None = None,
) -> dict[str, Any]:
    """Return the status as JSON values. Scripts rely on the keys."""
    ledger = status.ledger
    return {
        "ledger": {
            "accepted": ledger.accepted,
            "produced": ledger.produced,
            "dead": ledger.dead,
            "waiting": ledger.waiting,
            "balanced": ledger.unaccounted == 0,
        },
        "kafka": status.kafka_error or "ok",
        "position_errors": list(status.position_errors),
        "in_topic": status.in_topic,
        "duplicates": status.duplicates,
        "counters": {
            name: {
                "counted": progress.events,
                "duplicates": progress.duplicates,
                "lag": status.lag[name],
                "last_received_ms": progress.last_received_ms,
            }
            for name, progress in status.counted.items()
        },
        "timing_ms": {name: value for name, value in timing.items() if name != histogram.TOTAL_LABEL},
        "top_types": dict(top_types),
        "storage": storage.as_json() if storage else None,
        "actions": actions.as_json() if actions else None,
    }


def render(
    status: Status,
    top_types: Mapping[str, int],
    timing: Mapping[str, float],
    storage: StorageStatus | None = None,
    actions: ActionsStatus | None = None,
) -> Group:
    """Return the status as tables for a terminal."""
    ledger = status.ledger
    verdict = (
        Text("balanced", style="green")
        if ledger.unaccounted == 0
        else Text(f"{ledger.unaccounted:,} UNACCOUNTED FOR", style="bold red")
    )
    equation = (
        f"accepted {ledger.accepted:,} = produced {ledger.produced:,} + dead {ledger.dead:,} "
        f"+ waiting {ledger.waiting:,}  "
    )
    consumers = Table("consumer", box=None)
    for title in ("counted", "duplicates dropped", "lag"):
        consumers.add_column(title, justify="right")
    for name, progress in status.counted.items():
        consumers.add_row(name, f"{progress.events:,}", f"{progress.duplicates:,}", format_number(status.lag[name]))
    if not status.counted:
        consumers.add_row("no consumer has registered yet", "", "", "")
    delays = Table("delay in ms", box=None)
    for title in ("average", *histogram.QUANTILES):
        delays.add_column(title, justify="right")
    for series, meaning in DELAYS.items():
        values = (timing.get(name, 0.0) for name in (series, *(f"{series} {name}" for name in histogram.QUANTILES)))
        delays.add_row(meaning, *(f"{format_number:,.0f}" for format_number in values))
    types = Table("most frequent types", box=None)
    types.add_column("events", justify="right")
    for label, count in top_types.items():
        types.add_row(Text(label), f"{count:,}")
    topic = Text(
        f"in topic  {format_number(status.in_topic)}, "
        f"of these in flight or duplicates {format_number(status.duplicates)}"
    )
    if status.kafka_error:
        topic = Text(status.kafka_error, style="bold red")
    for error in status.position_errors:
        topic.append(f"\n{error}", style="bold red")
    about_storage = (storage.render(),) if storage else ()
    about_actions = (Text(), actions.render()) if actions else ()
    ledger_line = Text.assemble("ledger    ", equation, verdict)
    parts = (ledger_line, topic, *about_storage, Text(), consumers, *about_actions)
    return Group(*parts, *((Text(), delays, Text(), types) if top_types else ()))


def format_number(number: int | None) -> str:
    """Format a number for people. An unknown number is a question mark, never 0."""
    return "?" if number is None else f"{number:,}"


async def show(endpoints: Endpoints, *, json_output: bool) -> int:
    """Print the status. Returns 0 when every server responds and the ledger balances. Raises StatusError."""
    # The status reports an unreachable broker in one sentence. The Kafka client would log many lines about it.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    async with StatusReader(endpoints) as reader:
        status = await reader.read()
        top_types = await reader.top_types()
        timing = await reader.timing()
    storage = await read_storage(endpoints.storage_internal_url) if endpoints.storage_internal_url else None
    found = await read_actions(endpoints, has_kafka=not status.kafka_error) if endpoints.actions_url else None
    actions = found if found and found.is_used else None
    console = Console()
    if json_output:
        console.print_json(data=as_json(status, top_types, timing, storage, actions), indent=None)
    else:
        console.print(render(status, top_types, timing, storage, actions))
    return 1 if (storage and storage.error) or (actions and actions.error) else status.exit_code
