"""The demo: the whole system with synthetic visitors and a live table, until Ctrl-C."""

import asyncio
import time
from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy import catalog
from deploy.demo.synthetic import synthetic_visitors
from deploy.demo.system import endpoints_of, running_system
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.interrupts import run_interruptible
from deploy.operate.send import SendCounts, send
from deploy.operate.status import Status, StatusReader, format_number

_REFRESH_S = 0.5
_RATE_WINDOW = 6  # number of readings, one per _REFRESH_S


def watch(*, kafka: KafkaChoice, rate: float | None) -> None:
    """Run everything with synthetic visitors and a live table, until interrupted."""
    console = Console()
    with running_system(kafka=kafka, console=console) as stack:
        _print_addresses(stack, console)
        run_interruptible(_watch(stack, rate, console))


async def _watch(stack: LocalStack, rate: float | None, console: Console) -> None:
    endpoints = endpoints_of(stack)
    counts = SendCounts()
    readings: deque[tuple[float, int]] = deque(maxlen=_RATE_WINDOW)
    sending = asyncio.create_task(send(synthetic_visitors(), endpoints.tracker_url, counts=counts, rate=rate))
    try:
        async with StatusReader(endpoints) as reader:
            with Live(console=console, auto_refresh=False) as live:
                while not sending.done():
                    status = await reader.read()
                    readings.append((time.monotonic(), status.counted_by_all))
                    top_types = await reader.top_types()
                    table = _live_table(counts, status, _rate(readings), top_types)
                    live.update(Group(table, *_errors(stack, counts, status)), refresh=True)
                    await asyncio.sleep(_REFRESH_S)
        await sending
    finally:
        sending.cancel()
        await asyncio.wait({sending})


def _rate(readings: deque[tuple[float, int]]) -> float:
    (first_s, first), (last_s, last) = readings[0], readings[-1]
    return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


def _live_table(counts: SendCounts, status: Status, rate: float, top_types: dict[str, int]) -> Group:
    pipeline = Table(box=None, padding=(0, 1, 0, 0))
    lags = status.lag.values()
    values = {
        "sent": counts.sent,
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


def _errors(stack: LocalStack, counts: SendCounts, status: Status) -> list[Text]:
    """Return the errors to show: ended services, failed requests, an unreachable Kafka."""
    ended = [f"{service.label} has ended; its log: {service.log}" for service in stack.services if not service.is_alive]
    refused = [f"{count:,} requests not acknowledged: {reason}" for reason, count in counts.failures.items()]
    kafka = [status.kafka_error] if status.kafka_error else []
    return [Text(line, style="bold red") for line in (*ended, *refused, *kafka)]


def _print_addresses(stack: LocalStack, console: Console) -> None:
    """Print the addresses. Not in a table, which would shorten them."""
    lines = {
        "fire a pixel": f"{stack.tracker_url}/t/hello.gif?who=me",
        "watch it in a browser": f"{stack.kafidx_url}/kafidx",
        **{f"{service.label} (readyz, metrics)": service.internal_url for service in stack.services},
        "logs": str(stack.log_directory),
        "from another terminal": "python3 tasks.py status",
    }
    for title, value in lines.items():
        console.print(Text(f"{title}: "), Text(value), soft_wrap=True, highlight=False)
    usual = catalog.load().containers["tracker"].port
    if not stack.tracker_url.endswith(f":{usual}"):
        taken = f"Port {usual} is in use, perhaps by another demo: this demo uses the ports above."
        console.print(taken, style="yellow")
    console.print("Ctrl-C stops everything (in a script: SIGTERM).", style="bold")
