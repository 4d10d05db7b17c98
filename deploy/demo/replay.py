"""Replay an access log through a whole new system, and check that its ledger balances."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from deploy import catalog
from deploy.demo.imported import ImportedOffers, pages_url, run_importers
from deploy.demo.matching import matching_demo
from deploy.demo.matching_check import MatchingResult, play_once
from deploy.demo.system import endpoints_of, running_system
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.develop.localstack.mongo import MongoKind
from deploy.interrupts import run_interruptible
from deploy.operate.access_log import TrackingRequest, count_requests, read_log
from deploy.operate.endpoints import Endpoints
from deploy.operate.send import SendCounts, progress_bars, send
from deploy.operate.status import Status, StatusReader

STALL_LIMIT_S = 60.0
"""Time without progress after which a replay gives up: longer than a rebalance on the slowest broker."""
_REFRESH_S = 0.25


class ReplayResult(NamedTuple):
    """The result of a replay.

    `lost`: requests that are neither counted by every consumer, nor dead, nor waiting. Duplicates are not counted, so
    the number is exact even when a kafkastore was killed. A value below 0 means that an event was counted twice.
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
        """0 when nothing was lost and nothing was counted twice."""
        return 0 if self.lost == 0 else 1


class DemoResult(NamedTuple):
    """The result of a replay, of the scene that was played after it, and of the importers that ran at the end.

    The last two are None without storage.
    """

    replay: ReplayResult
    matching: MatchingResult | None
    imported: ImportedOffers | None

    @property
    def errors(self) -> tuple[str, ...]:
        """A sentence for each difference of the scene and for each importer that failed."""
        return (*(self.matching.errors if self.matching else ()), *(self.imported.errors if self.imported else ()))

    @property
    def exit_code(self) -> int:
        """0 when nothing was lost or counted twice, the matches are the expected ones, and all importers ran."""
        return 1 if self.replay.exit_code or self.errors else 0

    def as_dict(self) -> dict[str, int | float | None]:
        """Return the numbers by name. Those of the scene and of the importers are None without storage."""
        matching = self.matching
        return self.replay._asdict() | {
            "offers": matching and matching.offers,
            "searches": matching and matching.searches,
            "matches": matching and matching.matches,
            "messages": matching and matching.messages,
            "scene_events": matching and matching.events,
            "imported": self.imported and self.imported.total,
        }


def replay_once(log: Path, *, kafka: KafkaChoice, mongo: MongoKind | None, console: Console) -> DemoResult:
    """Send a log through the whole path, and wait until the ledger balances. Then play the scene, if there is storage.

    The scene comes after the replay, and the importers after the scene, so that the events of each are not among those
    of the one before.
    """
    total = count_requests(log)
    with running_system(kafka=kafka, mongo=mongo, console=console) as stack:
        return run_interruptible(_replay_and_play(stack, log, total=total, console=console))


async def _replay_and_play(stack: LocalStack, log: Path, *, total: int, console: Console) -> DemoResult:
    endpoints = endpoints_of(stack)
    result = await replay(endpoints, read_log(log), total=total, console=console)
    sent = SendCounts()
    async with matching_demo(stack, sent=sent) as demo, StatusReader(endpoints) as reader:
        if demo is None:
            return DemoResult(result, None, None)
        matching = await play_once(demo, reader, sent=sent)
        imported = await run_importers(stack)
    console.print(f"{imported.sentence} (importers: {pages_url(stack)})", soft_wrap=True, highlight=False)
    return DemoResult(result, matching, imported)


def print_result(result: DemoResult, *, json_output: bool, console: Console) -> None:
    """Print the result. With `json_output` it is one JSON object on standard output."""
    for sentence in result.errors:
        console.print(sentence, style="red")
    if json_output:
        sys.stdout.write(json.dumps(result.as_dict()) + "\n")
    else:
        console.print(_result_table(result))


async def replay(
    endpoints: Endpoints,
    requests: Iterable[TrackingRequest],
    *,
    total: int,
    console: Console,
    rate: float | None = None,
) -> ReplayResult:
    """Send requests through a new system, and wait until nothing waits and all is counted.

    Gives up after STALL_LIMIT_S without progress.
    """
    begun = time.monotonic()
    counts = SendCounts()
    async with StatusReader(endpoints) as reader:
        with progress_bars(console) as progress:
            bars = {name: progress.add_task(name, total=total) for name in ("sent", "accepted", "produced", "counted")}
            sending = asyncio.create_task(send(requests, endpoints.tracker_url, counts=counts, rate=rate))
            async for status in _wait_until_steady(reader, sending):
                progress.update(bars["sent"], completed=counts.sent)
                progress.update(bars["accepted"], completed=status.ledger.accepted)
                progress.update(bars["produced"], completed=status.ledger.produced)
                progress.update(bars["counted"], completed=status.counted_by_all)
            await sending
    for reason, count in counts.failures.items():
        console.print(f"{count:,} requests were not acknowledged: {reason}", style="red")
    ledger, counted = status.ledger, status.counted_by_all
    return ReplayResult(
        sent=counts.sent,
        accepted=ledger.accepted,
        produced=ledger.produced,
        dead=ledger.dead,
        waiting=ledger.waiting,
        counted=counted,
        lost=counts.sent - counted - ledger.dead - ledger.waiting,
        seconds=round(time.monotonic() - begun, 2),
    )


async def _wait_until_steady(reader: StatusReader, sending: asyncio.Task[None]) -> AsyncIterator[Status]:
    """Yield the status until nothing waits and all is counted, or until nothing changes for too long."""
    last: Status | None = None
    moved_at = time.monotonic()
    while True:
        all_sent = sending.done()  # read before the ledger, which misses later requests
        status = await reader.read()
        yield status
        if all_sent and status.ledger.waiting == 0 and _all_counted(status):
            return
        if status != last:
            last, moved_at = status, time.monotonic()
        elif all_sent and time.monotonic() - moved_at > STALL_LIMIT_S:
            return
        await asyncio.sleep(_REFRESH_S)


def _all_counted(status: Status) -> bool:
    """Return whether every consumer has counted all produced events, or passed all records including duplicates.

    The second condition is for events with equal ids, of which fewer are counted than produced.
    """
    if len(status.counted) < len(catalog.load().consumers):
        return False
    produced = status.ledger.produced
    if status.counted_by_all >= produced:
        return True
    # The number of passed records alone is not sufficient: a killed kafkastore writes duplicate records.
    return status.in_topic is not None and status.passed_by_all >= max(produced, status.in_topic)


def _result_table(result: DemoResult) -> Table:
    table = Table(box=None, show_header=False)
    for name, value in result.as_dict().items():
        style = "bold red" if name == "lost" and value else ""
        table.add_row(name, "no storage" if value is None else f"{value:,}", style=style)
    return table
