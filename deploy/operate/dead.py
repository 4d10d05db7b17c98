"""The dead letters: which there are, and how they are put back once their cause is gone."""

import asyncio
import contextlib
import json
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from deploy.operate.dead_letters import DeadLetterFilter, DeadLetterSummary, read_dead_letters, readable_time
from deploy.operate.endpoints import DOES_IT_RUN, Endpoints
from services.backbone import names
from services.backbone.kafka import KafkaUnavailable, TopicReader
from services.backbone.queue import EventQueue, QueueError, connect
from services.backbone.settings import KafkaSettings

_REDIS_TIMEOUT_S: Final = 5.0
_MARKS_AT_ONCE: Final = 1000
_UNREADABLE: Final = "(can't be decoded)"


class Plan(NamedTuple):
    """What a replay does with the letters that are meant."""

    due: list[DeadLetterSummary]
    """To be put back, one of each entry."""
    copies: list[DeadLetterSummary]
    """More letters of those entries: written when kafkastore was killed after its letters and before its books."""
    cut: list[DeadLetterSummary]
    """They keep only a part of their entry, and can't be put back."""
    replayed: int
    """Put back by an earlier run."""


def make_plan(letters: Sequence[DeadLetterSummary], wanted: DeadLetterFilter, replayed: frozenset[bytes]) -> Plan:
    """Decide about all letters of the topic; `replayed` holds the digests of those that were put back.

    An entry that was put back and died again has a new letter, with a time of its own, and may be put back again.
    """
    open_letters = [letter for letter in letters if letter.digest not in replayed]
    meant = [letter for letter in open_letters if wanted.has(letter)]
    due: dict[bytes, DeadLetterSummary] = {}
    for letter in meant:
        if not letter.is_cut:
            due.setdefault(letter.content, letter)
    chosen = {(letter.partition, letter.offset) for letter in due.values()}
    return Plan(
        due=list(due.values()),
        copies=[
            letter
            for letter in open_letters
            if letter.content in due and (letter.partition, letter.offset) not in chosen and not letter.is_cut
        ],
        cut=[letter for letter in meant if letter.is_cut],
        replayed=sum(letter.digest in replayed and wanted.has(letter) for letter in letters),
    )


def show(endpoints: Endpoints, wanted: DeadLetterFilter, *, limit: int, json_output: bool) -> int:
    """Print the letters that are meant, the newest `limit` of them (0: all), and how many there are of each reason."""
    return run_interruptible(_show(endpoints, wanted, limit=limit, json_output=json_output))


def replay(endpoints: Endpoints, wanted: DeadLetterFilter, *, rate: float | None, dry_run: bool) -> int:
    """Put the entries of the letters that are meant back into the queue, `rate` a second; returns the exit code.

    Each letter is put back once, by however many runs, and whenever they are interrupted. 1 when letters that are
    meant can't be put back because they were cut.
    """
    return run_interruptible(_replay(endpoints, wanted, rate=rate, dry_run=dry_run))


async def _show(endpoints: Endpoints, wanted: DeadLetterFilter, *, limit: int, json_output: bool) -> int:
    async with _opened(endpoints) as (reader, redis):
        found = [letter.summary async for letter in read_dead_letters(reader) if wanted.has(letter.summary)]
        found.sort(key=lambda letter: (letter.time_ms, letter.partition, letter.offset))
        replayed = await _replayed(redis, found)
    newest = found[-limit:] if limit else found
    reasons = Counter(letter.reason for letter in found)
    if json_output:
        rows = [_as_json(letter, replayed=letter.digest in replayed) for letter in newest]
        answer = {"letters": rows, "total": len(found), "by_reason": dict(reasons.most_common())}
        sys.stdout.write(json.dumps(answer) + "\n")
        return 0
    console = Console()
    if not found:
        console.print("no dead letters" if wanted == DeadLetterFilter() else "no dead letter is as it was asked for")
        return 0
    console.print(_letters_table(newest, replayed))
    if len(newest) < len(found):
        console.print(f"the newest {len(newest):,} of {len(found):,}; --limit 0 shows all")
    console.print(_counts_table("letters", ("reason",), {(reason,): count for reason, count in reasons.items()}))
    return 0


async def _replay(endpoints: Endpoints, wanted: DeadLetterFilter, *, rate: float | None, dry_run: bool) -> int:
    console = Console()
    async with _opened(endpoints) as (reader, redis):
        letters = [letter.summary async for letter in read_dead_letters(reader)]
        ends = reader.positions()
        plan = make_plan(letters, wanted, await _replayed(redis, letters))
        _tell_plan(console, endpoints, plan, dry_run=dry_run)
        if plan.due and not dry_run:
            await _put_back(console, reader, redis, plan, upto=ends, rate=rate)
    return 1 if plan.cut and not dry_run else 0


async def _put_back(  # noqa: PLR0913 - what it works with
    console: Console, reader: TopicReader, redis: Redis, plan: Plan, *, upto: Mapping[int, int], rate: float | None
) -> None:
    queue = EventQueue(redis)
    due = {(letter.partition, letter.offset): letter for letter in plan.due}
    columns = (TextColumn("put back"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    put_back = 0
    begun = time.monotonic()
    try:
        # Before any of them goes back: an interrupted run must leave one letter of each entry to the next, not two.
        await _mark(redis, plan.copies)
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("put back", total=len(due))
            looked_at = 0
            async for letter in read_dead_letters(reader, upto=upto):
                if (letter.summary.partition, letter.summary.offset) not in due:
                    continue
                put_back += await queue.requeue(letter.entry, letter=letter.summary.digest)
                looked_at += 1
                progress.update(bar, completed=looked_at)
                if rate is not None:
                    await asyncio.sleep(max(0.0, begun + looked_at / rate - time.monotonic()))
    except QueueError as error:
        raise OperatorError(
            f"Redis does not answer any more: {error}\n{put_back:,} were put back; the same command goes on from there"
        ) from error
    console.print(f"{put_back:,} put back into the queue")


async def _mark(redis: Redis, copies: Sequence[DeadLetterSummary]) -> None:
    """Note letters as put back, since another letter of the same entry is."""
    for first in range(0, len(copies), _MARKS_AT_ONCE):
        seconds, microseconds = await redis.time()
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        marks: Any = {letter.digest: now_ms for letter in copies[first : first + _MARKS_AT_ONCE]}
        await redis.zadd(names.REPLAYED_LETTERS, marks, nx=True)


async def _replayed(redis: Redis, letters: Sequence[DeadLetterSummary]) -> frozenset[bytes]:
    """Return the digests, of these letters, that were put back before."""
    queue = EventQueue(redis)
    digests = [letter.digest for letter in letters]
    found: set[bytes] = set()
    for first in range(0, len(digests), _MARKS_AT_ONCE):
        part = digests[first : first + _MARKS_AT_ONCE]
        found.update(digest for digest, was in zip(part, await queue.requeued(part), strict=True) if was)
    return frozenset(found)


@contextlib.asynccontextmanager
async def _opened(endpoints: Endpoints) -> AsyncIterator[tuple[TopicReader, Redis]]:
    """Open the topic of dead letters and the first Redis of the queue. Raises OperatorError, which says who is away."""
    quieten()
    settings = KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": endpoints.bootstrap_servers})
    url = endpoints.queue_urls[0]
    redis = connect(url, timeout_s=_REDIS_TIMEOUT_S)
    try:
        await redis.ping()
        async with TopicReader(settings, names.DEAD_LETTER_TOPIC) as reader:
            yield reader, redis
    except QueueError as error:
        raise OperatorError(f"Redis does not answer at {without_password(url)}: {error}\n{DOES_IT_RUN}") from error
    except KafkaUnavailable as error:
        raise OperatorError(f"Kafka does not answer at {endpoints.bootstrap_servers}: {error}") from error
    finally:
        await redis.aclose()


def quieten() -> None:
    """Leave what the Kafka client logs while it looks for a broker to the one sentence of an OperatorError."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def without_password(url: str) -> str:
    """Return a URL that may be shown."""
    return re.sub(r"//[^@/]*@", "//", url)


def _tell_plan(console: Console, endpoints: Endpoints, plan: Plan, *, dry_run: bool) -> None:
    counts: Counter[tuple[str, ...]] = Counter((letter.reason, letter.type or _UNREADABLE) for letter in plan.due)
    if counts:
        console.print(_counts_table("would go back" if dry_run else "go back", ("reason", "type"), counts))
    else:
        console.print("nothing to put back")
    if plan.copies:
        console.print(f"{len(plan.copies):,} more letters are of the same entries: each entry goes back once")
    if plan.replayed:
        console.print(f"{plan.replayed:,} were put back before")
    if plan.cut:
        console.print(
            f"{len(plan.cut):,} were cut and can't be put back: what is left of them is no entry", style="red"
        )
    if plan.due and len(endpoints.queue_urls) > 1:
        first, *others = endpoints.queue_urls
        console.print(
            f"several Redis servers hold the queue: all goes to {without_password(first)}. Its ledger counts them out\n"
            f"of `dead`, which may be another's figure ({', '.join(map(without_password, others))}); the sum is right."
        )


def _letters_table(letters: Sequence[DeadLetterSummary], replayed: frozenset[bytes]) -> Table:
    table = Table("time", "stage", "attempt", "reason", "type", "id", "partition/offset", box=None)
    table.add_column("bytes", justify="right")
    table.add_column("replayed")
    for letter in letters:
        texts = (readable_time(letter.time_ms), letter.stage, letter.attempt, letter.reason, letter.type, letter.id)
        table.add_row(
            *map(Text, texts),
            f"{letter.partition}/{letter.offset}",
            f"{letter.size:,}",
            "yes" if letter.digest in replayed else "no",
        )
    return table


def _counts_table(title: str, names_of_columns: Sequence[str], counts: Mapping[tuple[str, ...], int]) -> Table:
    table = Table(box=None)
    table.add_column(title, justify="right")
    for name in names_of_columns:
        table.add_column(name)
    for texts, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(f"{count:,}", *map(Text, texts))
    return table


def _as_json(letter: DeadLetterSummary, *, replayed: bool) -> dict[str, Any]:
    """Return a letter as plain values; the keys are a promise to scripts."""
    return {
        "time": readable_time(letter.time_ms),
        "time_ms": letter.time_ms,
        "stage": letter.stage,
        "attempt": letter.attempt,
        "reason": letter.reason,
        "type": letter.type or None,
        "id": letter.id or None,
        "partition": letter.partition,
        "offset": letter.offset,
        "bytes": letter.size,
        "cut": letter.is_cut,
        "replayed": replayed,
    }
