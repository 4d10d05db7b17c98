"""The tasks dead.list and dead.replay: show dead letters, and put their entries back into the queue."""

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from deploy.operate.dead_letters import DeadLetterFilter, DeadLetterSummary, read_dead_letters, readable_time
from deploy.operate.endpoints import DOES_IT_RUN, Endpoints, without_password
from deploy.operate.queue_admin import QueueAdmin
from services.backbone import names
from services.backbone.kafka import KafkaUnavailable, TopicReader
from services.backbone.queue import QueueError
from services.backbone.redis import connect
from services.backbone.settings import KafkaSettings

_REDIS_TIMEOUT_S: Final = 5.0
_UNREADABLE: Final = "(can't be decoded)"


class Plan(NamedTuple):
    """The letters that match the filter, grouped by the action of a replay."""

    due: list[DeadLetterSummary]
    """Letters to put back, one for each entry."""
    duplicates: list[DeadLetterSummary]
    """Other letters of the same entries. kafkastore writes a letter before it updates the ledger. A kill between the
    two steps causes a second letter."""
    cut: list[DeadLetterSummary]
    """Letters that contain only a part of their entry. They can't be put back."""
    replayed: int
    """Number of letters that an earlier run put back."""


def make_plan(
    dead_letters: Sequence[DeadLetterSummary], selected: DeadLetterFilter, replayed: frozenset[bytes]
) -> Plan:
    """Choose the letters to put back. `dead_letters` contains all letters of the topic.

    `replayed` contains the digests of the letters that were put back before. An entry that fails again after a replay
    gets a new letter with a new time. This letter can be put back.
    """
    open_dead_letters = [letter for letter in dead_letters if letter.digest not in replayed]
    meant = [letter for letter in open_dead_letters if selected.has(letter)]
    due: dict[bytes, DeadLetterSummary] = {}
    for letter in meant:
        if not letter.is_cut:
            due.setdefault(letter.content, letter)
    chosen = {(letter.partition, letter.offset) for letter in due.values()}
    return Plan(
        due=list(due.values()),
        duplicates=[
            letter
            for letter in open_dead_letters
            if letter.content in due and (letter.partition, letter.offset) not in chosen and not letter.is_cut
        ],
        cut=[letter for letter in meant if letter.is_cut],
        replayed=sum(letter.digest in replayed and selected.has(letter) for letter in dead_letters),
    )


def show(endpoints: Endpoints, selected: DeadLetterFilter, *, limit: int, json_output: bool) -> int:
    """Print the newest `limit` matching letters (0: all) and the number of letters of each reason."""
    return run_interruptible(_show(endpoints, selected, limit=limit, json_output=json_output))


def replay(endpoints: Endpoints, selected: DeadLetterFilter, *, rate: float | None, dry_run: bool) -> int:
    """Put the entries of matching letters back into the queue, at most `rate` a second. Returns the exit code.

    Each letter is put back once, over any number of runs and interruptions. The exit code is 1 when a matching letter
    is incomplete and can't be put back.
    """
    return run_interruptible(_replay(endpoints, selected, rate=rate, dry_run=dry_run))


async def _show(endpoints: Endpoints, selected: DeadLetterFilter, *, limit: int, json_output: bool) -> int:
    async with _opened(endpoints) as (reader, queue):
        found = [letter.summary async for letter in read_dead_letters(reader) if selected.has(letter.summary)]
        found.sort(key=lambda letter: (letter.time_ms, letter.partition, letter.offset))
        replayed = await queue.requeued([letter.digest for letter in found])
    newest = found[-limit:] if limit else found
    reasons = Counter(letter.reason for letter in found)
    if json_output:
        rows = [_as_json(letter, replayed=letter.digest in replayed) for letter in newest]
        document = {"letters": rows, "total": len(found), "by_reason": dict(reasons.most_common())}
        sys.stdout.write(json.dumps(document) + "\n")
        return 0
    console = Console()
    if not found:
        console.print("no dead letters" if selected == DeadLetterFilter() else "no dead letter matches")
        return 0
    console.print(_dead_letters_table(newest, replayed))
    if len(newest) < len(found):
        console.print(f"showing the newest {len(newest):,} of {len(found):,} (--limit 0 shows all)")
    console.print(_counts_table("letters", ("reason",), {(reason,): count for reason, count in reasons.items()}))
    return 0


async def _replay(endpoints: Endpoints, selected: DeadLetterFilter, *, rate: float | None, dry_run: bool) -> int:
    console = Console()
    async with _opened(endpoints) as (reader, queue):
        dead_letters = [letter.summary async for letter in read_dead_letters(reader)]
        end_offsets = reader.positions()
        replayed = await queue.requeued([letter.digest for letter in dead_letters])
        plan = make_plan(dead_letters, selected, replayed)
        _print_plan(console, endpoints, plan, dry_run=dry_run)
        if plan.due and not dry_run:
            await _put_back(console, reader, queue, plan, upto=end_offsets, rate=rate)
    return 1 if plan.cut and not dry_run else 0


async def _put_back(  # noqa: PLR0913 - all are inputs
    console: Console, reader: TopicReader, queue: QueueAdmin, plan: Plan, *, upto: Mapping[int, int], rate: float | None
) -> None:
    due = {(letter.partition, letter.offset): letter for letter in plan.due}
    columns = (TextColumn("put back"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    put_back = 0
    begun = time.monotonic()
    try:
        # Mark the duplicates first. Otherwise, the next run after an interruption would put their entries back again.
        await queue.mark_requeued([letter.digest for letter in plan.duplicates])
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task("put back", total=len(due))
            handled = 0
            async for letter in read_dead_letters(reader, upto=upto):
                if (letter.summary.partition, letter.summary.offset) not in due:
                    continue
                put_back += await queue.requeue(letter.entry, letter=letter.summary.digest)
                handled += 1
                progress.update(bar, completed=handled)
                if rate is not None:
                    await asyncio.sleep(max(0.0, begun + handled / rate - time.monotonic()))
    except QueueError as error:
        raise OperatorError(
            f"Redis stopped responding: {error}\nEntries put back: {put_back:,}. Run the same command again."
        ) from error
    console.print(f"entries put back into the queue: {put_back:,}")


@contextlib.asynccontextmanager
async def _opened(endpoints: Endpoints) -> AsyncIterator[tuple[TopicReader, QueueAdmin]]:
    """Open the topic of dead letters and the first Redis of the queue. Raises OperatorError."""
    quieten()
    settings = KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": endpoints.bootstrap_servers})
    url = endpoints.queue_urls[0]
    redis = connect(url, timeout_s=_REDIS_TIMEOUT_S)
    try:
        await redis.ping()
        async with TopicReader(settings, names.DEAD_LETTER_TOPIC) as reader:
            yield reader, QueueAdmin(redis)
    except QueueError as error:
        raise OperatorError(f"Redis at {without_password(url)} does not respond: {error}\n{DOES_IT_RUN}") from error
    except KafkaUnavailable as error:
        raise OperatorError(f"Kafka at {endpoints.bootstrap_servers} does not respond: {error}") from error
    finally:
        await redis.aclose()


def quieten() -> None:
    """Silence the log of the Kafka client: an OperatorError reports the failure in one sentence."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


def _print_plan(console: Console, endpoints: Endpoints, plan: Plan, *, dry_run: bool) -> None:
    counts: Counter[tuple[str, ...]] = Counter((letter.reason, letter.type or _UNREADABLE) for letter in plan.due)
    if counts:
        console.print(_counts_table("to put back (dry run)" if dry_run else "to put back", ("reason", "type"), counts))
    else:
        console.print("nothing to put back")
    if plan.duplicates:
        console.print(f"other letters of the same entries: {len(plan.duplicates):,} (each entry is put back once)")
    if plan.replayed:
        console.print(f"letters that were put back before: {plan.replayed:,}")
    if plan.cut:
        console.print(f"truncated letters, which can't be put back: {len(plan.cut):,}", style="red")
    if plan.due and len(endpoints.queue_urls) > 1:
        first, *others = endpoints.queue_urls
        console.print(
            f"The queue has several Redis servers. All entries go to {without_password(first)}, also the entries of\n"
            f"{', '.join(map(without_password, others))}. The ledger of {without_password(first)} counts all of them\n"
            "as no longer dead. So only the sum of the ledgers is exact."
        )


def _dead_letters_table(dead_letters: Sequence[DeadLetterSummary], replayed: frozenset[bytes]) -> Table:
    table = Table("time", "stage", "attempt", "reason", "type", "id", "partition/offset", box=None)
    table.add_column("bytes", justify="right")
    table.add_column("replayed")
    for letter in dead_letters:
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
    """Return a letter as JSON values. Scripts rely on the keys."""
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
