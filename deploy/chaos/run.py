"""One chaos run: load, faults at random, then the verdict."""

import asyncio
import contextlib
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from redis.asyncio import Redis
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.chaos import verify
from deploy.chaos.faults import FAULTS, Fault, sequence
from deploy.chaos.load import Load, requests
from deploy.chaos.outcome import Outcome, outcome_table
from deploy.chaos.system import ChaosSystem, running
from deploy.demo.system import endpoints_of
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from deploy.operate.status import StatusError, StatusReader
from services.backbone.counters import CounterStore

EVENT_COUNTER = "event_counter"
_RECOVERY_LIMIT_S = 60.0  # between faults; what takes longer is told, and goes on beside the next fault
_SETTLE_LIMIT_S = 180.0  # at the end: longer than a lease, a rebalance and a client's longest pause together
_POLL_S = 0.5
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.3, 2.0


class Asked(NamedTuple):
    """What a run is to be."""

    minutes: float
    seed: int
    rate: float
    faults: Sequence[Fault]
    again: str
    """The command that plays the same faults again."""


def parse(*, minutes: str, seed: str, rate: str, only: str) -> Asked:
    """Read what an operator typed; an empty seed is drawn. Raises OperatorError."""
    faults = [fault for fault in FAULTS if only in fault.name]
    if not faults:
        raise OperatorError(f"--only {only}: no fault is called so; there are {', '.join(f.name for f in FAULTS)}")
    if seed and not seed.isdecimal():
        raise OperatorError(f"--seed {seed}: it is a whole number")
    number = int(seed) if seed else random.SystemRandom().randrange(1_000_000)
    again = f"python3 tasks.py chaos --minutes {minutes} --seed {number} --rate {rate}" + (
        f" --only '{only}'" if only else ""
    )
    return Asked(_positive("minutes", minutes), number, _positive("rate", rate), faults, again)


def _positive(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise OperatorError(f"--{name} {text}: it is a number more than 0")
    return value


def run_chaos(asked: Asked, *, kafka: KafkaChoice, json_output: bool) -> Outcome:
    """Start a system, hurt it, print what came of it.

    With `json_output` the last line on standard output is one JSON object; all else goes to standard error.
    """
    console = Console(stderr=json_output)
    console.print(f"seed {asked.seed}; the same faults again: {asked.again}", highlight=False, soft_wrap=True)
    # What the client logs while a broker is away is not the subject here.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with LocalStack(kafka=kafka, say=console.print) as stack:
        outcome = run_interruptible(hurt(stack, asked, console=console))
        logs = stack.log_directory
    console.print(outcome_table(outcome))
    for complaint in outcome.complaints:
        console.print(complaint, style="bold red")
    if outcome.complaints:
        console.print(f"logs: {logs}\nthe same faults again: {asked.again}", highlight=False, soft_wrap=True)
    if json_output:
        sys.stdout.write(json.dumps(outcome._asdict() | {"again": asked.again}) + "\n")
    return outcome


async def hurt(stack: LocalStack, asked: Asked, *, console: Console) -> Outcome:
    """Play faults on a system under load, let it come to rest, and judge."""
    async with running(stack) as system:
        return await _Run(system, asked, console).judged()


class _Run:
    """One run on a system that is ready."""

    def __init__(self, system: ChaosSystem, asked: Asked, console: Console) -> None:
        self._system = system
        self._asked = asked
        self._console = console
        self._begun = time.monotonic()
        self._load = Load(system.tracker_ports, requests(f"s{asked.seed}"), rate=asked.rate)
        self._skipped = {fault.name: reason for fault in asked.faults if (reason := fault.why_not(system))}
        self._played: Counter[str] = Counter()
        self._longest_s = 0.0
        self._what = ""

    async def judged(self) -> Outcome:
        """Do all of it."""
        for name, reason in self._skipped.items():
            self._console.print(f"skipped: {name}, since {reason}")
        with _progress(self._console, self._asked.minutes * 60) as show:
            watching = asyncio.create_task(self._watch(show))
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._load.run())
                    await self._play()
                    self._load.end()
                self._what = "coming to rest"
                await self._system.heal()
                begun = time.monotonic()
                drained, books = await self._settle()
                self._longest_s = max(self._longest_s, time.monotonic() - begun)
            finally:
                watching.cancel()
        return await self._outcome(books, drained=drained)

    async def _play(self) -> None:
        """Play one fault after the other until the time is over."""
        playable = [fault for fault in self._asked.faults if fault.name not in self._skipped]
        for fault, dice in sequence(playable, self._asked.seed):
            await asyncio.sleep(dice.uniform(_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S))
            at_s = time.monotonic() - self._begun
            if at_s >= self._asked.minutes * 60:
                return
            self._what = fault.name
            try:
                said = await fault.strike(self._system, dice)
            finally:
                await self._system.heal()
            self._played[fault.name] += 1
            self._what = "draining"
            waiting = round(self._asked.rate)
            drained_s = await self._system.wait_until_drained(waiting=waiting, limit_s=_RECOVERY_LIMIT_S)
            self._longest_s = max(self._longest_s, _RECOVERY_LIMIT_S if drained_s is None else drained_s)
            tail = "not drained yet" if drained_s is None else f"drained in {drained_s:.1f} s"
            line = f"{at_s:7.1f} s  {fault.name}: {said}; {tail}"
            self._console.print(line, highlight=False, soft_wrap=True)
            self._what = ""

    async def _settle(self) -> tuple[bool, verify.Ledger | None]:
        """Wait until nothing waits, all is counted, and two readings of the books are the same."""
        until = time.monotonic() + _SETTLE_LIMIT_S
        last: verify.Ledger | None = None
        async with StatusReader(endpoints_of(self._system.stack)) as reader:
            while time.monotonic() < until:
                books = await self._system.ledger()
                with contextlib.suppress(StatusError):
                    status = await reader.read()
                    counted = len(status.lag) == len(self._system.consumers) and not any(status.lag.values())
                    at_rest = counted and not status.kafka_fault
                    if at_rest and books is not None and books == last and books.waiting == 0:
                        return True, books
                last = books
                await asyncio.sleep(_POLL_S)
        return False, last

    async def _outcome(self, books: verify.Ledger | None, *, drained: bool) -> Outcome:
        contents = await verify.read_topics(self._system.stack.bootstrap_servers)
        tally = self._load.tally
        told = books or verify.Ledger(0, 0, 0, 0)
        missing = max(0, told.produced - contents.records.total()) + max(0, told.dead - contents.dead.total())
        return Outcome(
            seed=self._asked.seed,
            answered=len(tally.answered),
            lost=len(verify.lost(tally.answered, contents)),
            copies=contents.copies,
            dead=contents.dead.total(),
            refused_503=tally.refused,
            broken=tally.broken.total(),
            unexpected=tally.other.total() + contents.without_reason,
            accepted=told.accepted,
            produced=told.produced,
            waiting=told.waiting,
            unaccounted=told.unaccounted,
            unconfirmed=missing,
            unique=len(contents.records),
            counted=await _counted(self._system),
            drained=drained,
            longest_drain_s=round(self._longest_s, 1),
            faults=dict(sorted(self._played.items())),
            skipped=self._skipped,
            died=tuple(self._system.died),
            seconds=round(time.monotonic() - self._begun, 1),
        )

    async def _watch(self, show: Callable[[float, str], None]) -> None:
        tally = self._load.tally
        while True:
            figures = f"answered {len(tally.answered):,}  503 {tally.refused:,}  broken {tally.broken.total():,}"
            show(time.monotonic() - self._begun, f"{figures}  {self._what}")
            await asyncio.sleep(_POLL_S)


async def _counted(system: ChaosSystem) -> int:
    async with Redis.from_url(system.stack.redis_url, decode_responses=True) as redis:
        return sum((await CounterStore(redis).counts(EVENT_COUNTER)).values())


@contextlib.contextmanager
def _progress(console: Console, seconds: float) -> Iterator[Callable[[float, str], None]]:
    columns = (BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=seconds)
        yield lambda passed_s, text: progress.update(task, completed=passed_s, description=text)
