"""One chaos run: load, random faults, then the result."""

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
from deploy.chaos.load import ChaosLoad, requests
from deploy.chaos.result import ChaosResult, result_table
from deploy.chaos.system import ChaosSystem, running
from deploy.demo.system import endpoints_of
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from deploy.numbers import positive_number
from deploy.operate.status import TYPES_COUNTER, StatusError, StatusReader
from services.backbone.counters import CounterStore

_RECOVERY_LIMIT_S = 60.0  # after a fault; a longer recovery is reported and continues during the next fault
_DRAIN_LIMIT_S = 180.0  # at the end: longer than a lease, a rebalance and a client's longest back-off together
_POLL_S = 0.5
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.3, 2.0


class ChaosOptions(NamedTuple):
    """The options of a run."""

    minutes: float
    seed: int
    rate: float
    faults: Sequence[Fault]
    again: str
    """The command that repeats the same faults."""


def parse(*, minutes: str, seed: str, rate: str, only: str) -> ChaosOptions:
    """Parse the flags. Without a seed a random one is chosen. Raises OperatorError."""
    faults = [fault for fault in FAULTS if only in fault.name]
    if not faults:
        raise OperatorError(f"--only {only}: no fault has this name. The faults: {', '.join(f.name for f in FAULTS)}.")
    if seed and not seed.isdecimal():
        raise OperatorError(f'--seed: invalid number "{seed}". Use a whole number.')
    number = int(seed) if seed else random.SystemRandom().randrange(1_000_000)
    again = f"python3 tasks.py chaos --minutes {minutes} --seed {number} --rate {rate}" + (
        f" --only '{only}'" if only else ""
    )
    return ChaosOptions(positive_number("--minutes", minutes), number, positive_number("--rate", rate), faults, again)


def run_chaos(options: ChaosOptions, *, kafka: KafkaChoice, json_output: bool) -> ChaosResult:
    """Start a system, inject faults, and print the result.

    With `json_output` the last line on standard output is a JSON object. Other output goes to standard error.
    """
    console = Console(stderr=json_output)
    console.print(f"seed {options.seed}, repeat with: {options.again}", highlight=False, soft_wrap=True)
    # The Kafka client logs every failed connection during an outage.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with LocalStack(kafka=kafka, say=console.print) as stack:
        result = run_interruptible(hurt(stack, options, console=console))
        logs = stack.log_directory
    console.print(result_table(result))
    for complaint in result.complaints:
        console.print(complaint, style="bold red")
    if result.complaints:
        console.print(f"logs: {logs}\nrepeat with: {options.again}", highlight=False, soft_wrap=True)
    if json_output:
        sys.stdout.write(json.dumps(result._asdict() | {"again": options.again}) + "\n")
    return result


async def hurt(stack: LocalStack, options: ChaosOptions, *, console: Console) -> ChaosResult:
    """Inject faults into a system under load, let it drain, and return the result."""
    async with running(stack) as system:
        return await _Run(system, options, console).judged()


class _Run:
    """One run on a system that is ready."""

    def __init__(self, system: ChaosSystem, options: ChaosOptions, console: Console) -> None:
        self._system = system
        self._options = options
        self._console = console
        self._begun = time.monotonic()
        self._load = ChaosLoad(system.tracker_ports, requests(f"s{options.seed}"), rate=options.rate)
        self._skipped = {fault.name: reason for fault in options.faults if (reason := fault.why_not(system))}
        self._played: Counter[str] = Counter()
        self._longest_s = 0.0
        self._what = ""

    async def judged(self) -> ChaosResult:
        """Run to the end and return the result."""
        for name, reason in self._skipped.items():
            self._console.print(f"skipped: {name}: {reason}")
        with _progress(self._console, self._options.minutes * 60) as show:
            watching = asyncio.create_task(self._watch(show))
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._load.run())
                    await self._play()
                    self._load.end()
                self._what = "draining"
                await self._system.heal()
                begun = time.monotonic()
                is_at_rest, ledger = await self._drain()
                self._longest_s = max(self._longest_s, time.monotonic() - begun)
            finally:
                watching.cancel()
        return await self._outcome(ledger, is_at_rest=is_at_rest)

    async def _play(self) -> None:
        """Inject one fault after the other until the run has lasted for its `minutes`."""
        playable = [fault for fault in self._options.faults if fault.name not in self._skipped]
        for fault, dice in sequence(playable, self._options.seed):
            await asyncio.sleep(dice.uniform(_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S))
            at_s = time.monotonic() - self._begun
            if at_s >= self._options.minutes * 60:
                return
            self._what = fault.name
            try:
                description = await fault.strike(self._system, dice)
            finally:
                await self._system.heal()
            self._played[fault.name] += 1
            self._what = "draining"
            waiting = round(self._options.rate)
            drain_s = await self._system.wait_until_drained(waiting=waiting, limit_s=_RECOVERY_LIMIT_S)
            self._longest_s = max(self._longest_s, _RECOVERY_LIMIT_S if drain_s is None else drain_s)
            tail = "not drained yet" if drain_s is None else f"drained in {drain_s:.1f} s"
            line = f"{at_s:7.1f} s  {fault.name}: {description}; {tail}"
            self._console.print(line, highlight=False, soft_wrap=True)
            self._what = ""

    async def _drain(self) -> tuple[bool, verify.SystemLedger | None]:
        """Wait until the queue is empty, all events are counted, and two successive ledgers are equal.

        Return whether this happened within the time limit, and the last ledger.
        """
        until = time.monotonic() + _DRAIN_LIMIT_S
        last: verify.SystemLedger | None = None
        async with StatusReader(endpoints_of(self._system.stack)) as reader:
            while time.monotonic() < until:
                ledger = await self._system.ledger()
                with contextlib.suppress(StatusError):
                    status = await reader.read()
                    counted = len(status.lag) == len(self._system.consumers) and not any(status.lag.values())
                    at_rest = counted and not status.kafka_error
                    if at_rest and ledger is not None and ledger == last and ledger.waiting == 0:
                        return True, ledger
                last = ledger
                await asyncio.sleep(_POLL_S)
        return False, last

    async def _outcome(self, ledger: verify.SystemLedger | None, *, is_at_rest: bool) -> ChaosResult:
        contents = await verify.read_topics(self._system.stack.bootstrap_servers)
        counts = self._load.counts
        known = ledger or verify.SystemLedger(0, 0, 0, 0)
        missing = max(0, known.produced - contents.records.total()) + max(0, known.dead - contents.dead.total())
        return ChaosResult(
            seed=self._options.seed,
            acknowledged=len(counts.acknowledged),
            lost=len(verify.lost(counts.acknowledged, contents)),
            duplicates=contents.duplicates,
            dead=contents.dead.total(),
            refused_503=counts.refused,
            broken=counts.broken.total(),
            unexpected=counts.other.total() + contents.without_reason,
            accepted=known.accepted,
            produced=known.produced,
            waiting=known.waiting,
            unaccounted=known.unaccounted,
            unconfirmed=missing,
            unique=len(contents.records),
            counted=await _counted(self._system),
            is_at_rest=is_at_rest,
            longest_drain_s=round(self._longest_s, 1),
            faults=dict(sorted(self._played.items())),
            skipped=self._skipped,
            died=tuple(self._system.died),
            seconds=round(time.monotonic() - self._begun, 1),
        )

    async def _watch(self, show: Callable[[float, str], None]) -> None:
        counts = self._load.counts
        while True:
            status = (
                f"acknowledged {len(counts.acknowledged):,}  503 {counts.refused:,}  broken {counts.broken.total():,}"
            )
            show(time.monotonic() - self._begun, f"{status}  {self._what}")
            await asyncio.sleep(_POLL_S)


async def _counted(system: ChaosSystem) -> int:
    async with Redis.from_url(system.stack.redis_url, decode_responses=True) as redis:
        return sum((await CounterStore(redis).counts(TYPES_COUNTER)).values())


@contextlib.contextmanager
def _progress(console: Console, seconds: float) -> Iterator[Callable[[float, str], None]]:
    columns = (BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=seconds)
        yield lambda passed_s, text: progress.update(task, completed=passed_s, description=text)
