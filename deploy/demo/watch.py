"""The demo: the whole system with synthetic visitors and a live table, until Ctrl-C."""

import asyncio
import time
from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy import catalog
from deploy.demo.imported import ImportLine, pages_url
from deploy.demo.matching import MatchingDemo, matching_demo
from deploy.demo.synthetic import synthetic_visitors
from deploy.demo.system import endpoints_of, running_system
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.develop.localstack.mongo import MongoKind
from deploy.interrupts import run_interruptible
from deploy.operate.send import SendCounts, send
from deploy.operate.status import Status, StatusReader, format_number

_REFRESH_S = 0.5
_RATE_WINDOW = 6  # number of readings, one per _REFRESH_S


def watch(*, kafka: KafkaChoice, mongo: MongoKind | None, rate: float | None, console: Console) -> None:
    """Run everything with synthetic visitors and a live table, until interrupted."""
    with running_system(kafka=kafka, mongo=mongo, console=console) as stack:
        _print_addresses(stack, console)
        run_interruptible(_watch(stack, rate, console))


async def _watch(stack: LocalStack, rate: float | None, console: Console) -> None:
    endpoints = endpoints_of(stack)
    counts = SendCounts()
    imports = ImportLine()
    async with matching_demo(stack, sent=counts) as demo, StatusReader(endpoints) as reader:
        visitors = send(synthetic_visitors(), endpoints.tracker_url, counts=counts, rate=rate)
        works = (visitors, *([demo.run(), imports.run(stack)] if demo else []))
        endless = {asyncio.create_task(each) for each in works}
        try:
            await _show(stack, reader, counts, demo, imports, console, while_running=endless)
        finally:
            for task in endless:
                task.cancel()
            await asyncio.wait(endless)


async def _show(  # noqa: PLR0913, PLR0917 - everything that the table shows
    stack: LocalStack,
    reader: StatusReader,
    counts: SendCounts,
    demo: MatchingDemo | None,
    imports: ImportLine,
    console: Console,
    *,
    while_running: set[asyncio.Task[None]],
) -> None:
    """Show the live table. The tasks never end by themselves: raise the exception that ended one."""
    readings: deque[tuple[float, int]] = deque(maxlen=_RATE_WINDOW)
    with Live(console=console, auto_refresh=False) as live:
        while not (ended := [task for task in while_running if task.done()]):
            status = await reader.read()
            readings.append((time.monotonic(), status.counted_by_all))
            top_types = await reader.top_types()
            sent = counts.sent + (demo.events if demo else 0)
            table = _live_table(sent, status, _rate(readings), top_types)
            matches = (Text(), demo.render(), imports.render()) if demo else ()
            live.update(Group(table, *matches, *_errors(stack, counts, status, demo)), refresh=True)
            await asyncio.sleep(_REFRESH_S)
    for task in ended:
        task.result()


def _rate(readings: deque[tuple[float, int]]) -> float:
    (first_s, first), (last_s, last) = readings[0], readings[-1]
    return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


def _live_table(sent: int, status: Status, rate: float, top_types: dict[str, int]) -> Group:
    pipeline = Table(box=None, padding=(0, 1, 0, 0))
    lags = status.lag.values()
    values = {
        "sent": sent,
        "accepted": status.ledger.accepted,
        "waiting": status.ledger.waiting,
        "produced": status.ledger.produced,
        "dead": status.ledger.dead,
        "counted": status.counted_by_all,
        "lag": None if None in lags else max((lag for lag in lags if lag is not None), default=0),
        "events/s": round(rate),
    }
    for title in values:
        pipeline.add_column(title, justify="right", min_width=8)
    pipeline.add_row(*(format_number(value) for value in values.values()))
    return Group(pipeline, Text("  ".join(f"{label} {count:,}" for label, count in top_types.items()), style="dim"))


def _errors(stack: LocalStack, counts: SendCounts, status: Status, demo: MatchingDemo | None) -> list[Text]:
    """Return the errors to show: ended services, failed requests, an unreachable Kafka."""
    ended = [f"{service.label} has ended; its log: {service.log}" for service in stack.services if not service.is_alive]
    refused = [f"{count:,} requests not acknowledged: {reason}" for reason, count in counts.failures.items()]
    kafka = [status.kafka_error] if status.kafka_error else []
    failures = demo.scene.failures.items() if demo else ()
    storage = [f"{count:,} requests to storage failed: {reason}" for reason, count in failures]
    return [Text(line, style="bold red") for line in (*ended, *refused, *kafka, *storage)]


def _print_addresses(stack: LocalStack, console: Console) -> None:
    """Print the addresses. Not in a table, which would shorten them."""
    rows = catalog.load().containers
    lines = {
        "fire a pixel": f"{stack.tracker_url}/t/hello.gif?who=me",
        "watch it in a browser": f"{stack.kafidx_url}/kafidx",
        **({"offers and searches": f"{stack.storage_url}{rows['storage'].page}"} if stack.storage_url else {}),
        **({"messages": f"{stack.notify_url}/messages"} if stack.notify_url else {}),
        **({"importers": pages_url(stack)} if stack.storage_url else {}),
        **{f"{service.label} (readyz, metrics)": service.internal_url for service in stack.services},
        "logs": str(stack.log_directory),
        "from another terminal": "python3 tasks.py status",
    }
    for title, value in lines.items():
        console.print(Text(f"{title}: "), Text(value), soft_wrap=True, highlight=False)
    usual = rows["tracker"].port
    if not stack.tracker_url.endswith(f":{usual}"):
        taken = f"Port {usual} is in use, perhaps by another demo: this demo uses the ports above."
        console.print(taken, style="yellow")
    console.print("Ctrl-C stops everything (in a script: SIGTERM).", style="bold")
