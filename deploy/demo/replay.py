"""Replays of an access log: one that checks the books of a whole system of its own, one against a system that runs."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from deploy.demo.system import STATISTICS_CONSUMERS, endpoints_of, running_system
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.interrupts import run_interruptible
from deploy.operate.access_log import TrackingRequest, count_requests, read_log
from deploy.operate.endpoints import Endpoints
from deploy.operate.send import SendCounts, progress_bars, send
from deploy.operate.status import Status, StatusReader

STALL_LIMIT_S = 60.0
"""A replay whose books have not moved for so long is given up: longer than a rebalance on the slowest broker."""
_REFRESH_S = 0.25


class ReplayResult(NamedTuple):
    """What one replay came to.

    `lost`: sent, yet neither counted by every consumer, nor dead, nor waiting. Copies are not counted, so that it is
    exact also when a kafkastore was killed; below 0 something was counted twice.
    """

    sent: int
    accepted: int
    produced: int
    dead: int
    waiting: int
    counted: int
    lost: int
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 when nothing was lost, and nothing counted twice."""
        return 0 if self.lost == 0 else 1


def replay_once(log: Path, *, kafka: KafkaChoice, json_output: bool) -> ReplayResult:
    """Send a log through the whole path, wait until the books balance, and print what came of it.

    With `json_output` the last line on standard output is one JSON object; all else goes to standard error.
    """
    console = Console(stderr=json_output)
    total = count_requests(log)
    with running_system(kafka=kafka, console=console) as stack:
        result = run_interruptible(replay(endpoints_of(stack), read_log(log), total=total, console=console))
    if json_output:
        sys.stdout.write(json.dumps(result._asdict()) + "\n")
    else:
        console.print(_result_table(result))
    return result


async def replay(
    endpoints: Endpoints,
    requests: Iterable[TrackingRequest],
    *,
    total: int,
    console: Console,
    rate: float | None = None,
) -> ReplayResult:
    """Send requests through a system that has seen none before, and wait until nothing waits and all is counted.

    Gives up after STALL_LIMIT_S without any movement.
    """
    begun = time.monotonic()
    counts = SendCounts()
    async with StatusReader(endpoints) as reader:
        with progress_bars(console) as progress:
            bars = {name: progress.add_task(name, total=total) for name in ("sent", "accepted", "produced", "counted")}
            sending = asyncio.create_task(send(requests, endpoints.tracker_url, counts=counts, rate=rate))
            async for status in _until_settled(reader, sending):
                progress.update(bars["sent"], completed=counts.sent)
                progress.update(bars["accepted"], completed=status.books.accepted)
                progress.update(bars["produced"], completed=status.books.produced)
                progress.update(bars["counted"], completed=status.counted_by_all)
            await sending
    for reason, count in counts.failures.items():
        console.print(f"{count:,} requests were not accepted: {reason}", style="red")
    books, counted = status.books, status.counted_by_all
    return ReplayResult(
        sent=counts.sent,
        accepted=books.accepted,
        produced=books.produced,
        dead=books.dead,
        waiting=books.waiting,
        counted=counted,
        lost=counts.sent - counted - books.dead - books.waiting,
        seconds=round(time.monotonic() - begun, 2),
    )


async def _until_settled(reader: StatusReader, sending: asyncio.Task[None]) -> AsyncIterator[Status]:
    """Read the status again and again until nothing waits and all is counted, or nothing has moved for too long."""
    last: Status | None = None
    moved_at = time.monotonic()
    while True:
        all_sent = sending.done()  # asked before the books are read: what was sent since is not in them
        status = await reader.read()
        yield status
        if all_sent and status.books.waiting == 0 and _all_counted(status):
            return
        if status != last:
            last, moved_at = status, time.monotonic()
        elif all_sent and time.monotonic() - moved_at > STALL_LIMIT_S:
            return
        await asyncio.sleep(_REFRESH_S)


def _all_counted(status: Status) -> bool:
    """Whether every consumer has counted all that was produced, or has passed all records, copies included.

    The second is for events of which fewer can be counted than were produced, since they have the same id.
    """
    if len(status.counted) < len(STATISTICS_CONSUMERS):
        return False
    produced = status.books.produced
    if status.counted_by_all >= produced:
        return True
    # What passed is no proof alone: copies that a killed kafkastore left are more records than were produced.
    return status.in_topic is not None and status.passed_by_all >= max(produced, status.in_topic)


def _result_table(result: ReplayResult) -> Table:
    table = Table(box=None, show_header=False)
    for name, value in result._asdict().items():
        style = "bold red" if name == "lost" and value else ""
        table.add_row(name, f"{value:,}", style=style)
    return table
