"""Forget a device: nothing that it sends is kept from now on, and what waits or died is removed."""

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from rich.console import Console
from rich.status import Status as Spinner

from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from deploy.operate.dead import quieten, without_password
from deploy.operate.dead_letters import read_dead_letters
from deploy.operate.endpoints import Endpoints
from services.backbone import names
from services.backbone.kafka import EventProducer, KafkaUnavailable, Record, TopicReader, delete_records
from services.backbone.queue import EventQueue, QueueError, connect
from services.backbone.settings import KafkaSettings
from services.kafkastore.core.forgetting import belongs_to, device_digest

_REDIS_TIMEOUT_S: Final = 5.0
_REMOVED_AT_ONCE: Final = 4  # each looks through the list, and Redis does nothing else meanwhile
_WRITTEN_AT_ONCE_BYTES: Final = 4_000_000
_CLAIMS_LIMIT_S: Final = 120.0  # a lease, and the time for which kafkastore keeps a batch that Kafka does not take
_REWRITE_LIMIT_S: Final = 120.0
_LOOK_S: Final = 0.2

UNTOUCHED: Final = (
    "events that are in the topic `events` already: they stay until its retention, and consumers may have read them",
    "the counters and the ledger's figures, which name no device",
    "what kafidx keeps of the latest events in its memory, until newer ones take their place",
    "the broker's files: what it has deleted is on disk until the segment that holds it is removed",
    "letters and entries of other versions or garbage that come later: what can't be decoded names no device",
)
"""What a run does not touch, as the operator is told."""


class ErasureResult(NamedTuple):
    """What was removed, and what could not be."""

    from_lists: int
    letters: int
    faults: tuple[str, ...]
    """What is left to do, in sentences; the exit code is then 1."""


def forget(
    endpoints: Endpoints,
    device_id: str,
    *,
    environ: Mapping[str, str],
    yes: bool,
    claims_limit_s: float = _CLAIMS_LIMIT_S,
) -> int:
    """Forget a device and say what was removed where; returns 1 when something of it is left that should not be.

    May be run again, and should be after a failure. `environ` says how large records may be, and whether the broker
    takes idempotent producers. Raises OperatorError.
    """
    if not device_id:
        raise OperatorError("which device? forget --id DEVICE")
    if not yes and not _confirmed(device_id):
        raise OperatorError("nothing was done")
    quieten()
    result = run_interruptible(_forget(endpoints, device_id, environ=environ, claims_limit_s=claims_limit_s))
    console = Console()
    console.print("marked: kafkastore drops what this device sends, from now on and for good")
    console.print(f"{result.from_lists:,} entries removed that waited in Redis")
    console.print(f"{result.letters:,} dead letters removed")
    console.print("not touched:")
    for line in UNTOUCHED:
        console.print(f"  {line}", highlight=False)
    for fault in result.faults:
        console.print(fault, style="bold red", highlight=False)
    return 1 if result.faults else 0


async def _forget(
    endpoints: Endpoints, device_id: str, *, environ: Mapping[str, str], claims_limit_s: float
) -> ErasureResult:
    console = Console()
    clients = [connect(url, timeout_s=_REDIS_TIMEOUT_S) for url in endpoints.queue_urls]
    removed = 0
    faults: list[str] = []
    try:
        for url, redis in zip(endpoints.queue_urls, clients, strict=True):
            shown = without_password(url)
            try:
                with console.status(f"{shown}: marking") as spinner:
                    removed += await _forget_in_redis(
                        EventQueue(redis), device_id, faults, spinner, shown=shown, limit_s=claims_limit_s
                    )
            except QueueError as error:
                raise OperatorError(
                    f"Redis does not answer at {shown}: {error}\n"
                    "The device may not be marked there: run the command again when it does."
                ) from error
        with console.status("looking through the dead letters"):
            letters = await _forget_letters(endpoints, device_id, environ, faults)
        for url, redis in zip(endpoints.queue_urls, clients, strict=True):
            with console.status(f"{without_password(url)}: writing its file anew"):
                faults += await _rewrite_file(redis, without_password(url))
    finally:
        for redis in clients:
            await redis.aclose()
    return ErasureResult(removed, letters, tuple(faults))


async def _forget_in_redis(  # noqa: PLR0913 - what it works with
    queue: EventQueue, device_id: str, faults: list[str], spinner: Spinner, *, shown: str, limit_s: float
) -> int:
    """Mark the device, wait until no claim is held that was there before, and remove what waits of it."""
    await queue.forget(device_digest(device_id))
    held = await queue.claims()  # whatever is claimed later tells kafkastore of the mark
    removed = await _remove_waiting(queue, device_id)
    deadline = time.monotonic() + limit_s
    while left := held & await queue.claims():
        if time.monotonic() > deadline:
            faults.append(
                f"{shown}: {len(left)} batches were claimed before the mark and are still held: when kafkastore has\n"
                "shipped them, events of the device may be in `events` or `events.dead`. Run the command again then."
            )
            break
        spinner.update(f"{shown}: waiting for {len(left)} batches that kafkastore took before")
        await queue.reclaim()  # of instances that died, also when none runs to do it
        await asyncio.sleep(_LOOK_S)
    return removed + await _remove_waiting(queue, device_id)  # what was given back meanwhile


async def _remove_waiting(queue: EventQueue, device_id: str) -> int:
    """Remove what waits in the list. What is passed over is dropped by kafkastore, unless it can't be decoded."""
    found = [entry async for entry in queue.waiting() if belongs_to(entry, device_id)]
    removed = 0
    for first in range(0, len(found), _REMOVED_AT_ONCE):
        removed += await queue.remove(found[first : first + _REMOVED_AT_ONCE])
    return removed


async def _forget_letters(endpoints: Endpoints, device_id: str, environ: Mapping[str, str], faults: list[str]) -> int:
    """Remove the device's dead letters: write the others of their partition behind the end, delete up to the old end.

    In that order, so that a run that is interrupted has lost none. Letters that it leaves there twice are known as
    copies: the next run writes one of them, and a replay puts one back.
    """
    settings = KafkaSettings.from_env(dict(environ) | {"KAFKA_BOOTSTRAP_SERVERS": endpoints.bootstrap_servers})
    try:
        async with TopicReader(settings, names.DEAD_LETTER_TOPIC) as reader:
            found: dict[int, int] = {}
            async for letter in read_dead_letters(reader):
                if belongs_to(letter.entry, device_id):
                    found[letter.summary.partition] = found.get(letter.summary.partition, 0) + 1
            if not found:
                return 0
            ends = {partition: end for partition, end in reader.positions().items() if partition in found}
            begins = await reader.begin_offsets()
            nothing = {partition: begins[partition] for partition in found}
            if not await _can_delete(endpoints, reader, nothing):
                faults.append(
                    f"{sum(found.values()):,} letters of the device stay in {names.DEAD_LETTER_TOPIC}: this broker\n"
                    "can't delete records (Apache Kafka can). They go with the topic's retention."
                )
                return 0
            await _write_others(settings, reader, device_id, upto=ends)
            await delete_records(endpoints.bootstrap_servers, names.DEAD_LETTER_TOPIC, ends)
    except KafkaUnavailable as error:
        raise OperatorError(
            f"Kafka does not answer at {endpoints.bootstrap_servers}: {error}\n"
            "The device's dead letters may be there still: run the command again when it does."
        ) from error
    return sum(found.values())


async def _can_delete(endpoints: Endpoints, reader: TopicReader, nothing: Mapping[int, int]) -> bool:
    """Ask the broker to delete what is deleted already. Raises KafkaUnavailable when it is away."""
    try:
        return await delete_records(endpoints.bootstrap_servers, names.DEAD_LETTER_TOPIC, nothing)
    except KafkaUnavailable:
        # Tansu hangs up at this request. One that answers the next question is not away.
        await reader.end_offsets()
        return False


async def _write_others(
    settings: KafkaSettings, reader: TopicReader, device_id: str, *, upto: Mapping[int, int]
) -> None:
    """Write the letters of all others anew, as they are. Raises OperatorError, with nothing deleted."""
    written: set[tuple[bytes, object]] = set()
    chunk: list[Record] = []
    size = 0
    async with EventProducer(settings) as producer:
        async for letter in read_dead_letters(reader, upto=upto):
            key = (letter.summary.digest, letter.record.headers)
            if key in written or belongs_to(letter.entry, device_id):
                continue
            written.add(key)
            chunk.append(letter.record)
            size += letter.summary.size
            if size > _WRITTEN_AT_ONCE_BYTES:
                await _write(producer, chunk)
                chunk, size = [], 0
        await _write(producer, chunk)


async def _write(producer: EventProducer, records: list[Record]) -> None:
    if records and await producer.produce(names.DEAD_LETTER_TOPIC, records):
        raise OperatorError(
            f"{names.DEAD_LETTER_TOPIC} does not take letters of others that are in it: they are larger than its\n"
            "max.message.bytes, or than MAX_EVENT_BYTES here allows. Nothing was deleted; raise the limit and run it\n"
            "again."
        )


async def _rewrite_file(redis: Redis, shown: str) -> list[str]:
    """Have Redis write its append-only file anew, where it keeps one: the old one holds what was removed."""
    try:
        state = await redis.info("persistence")
        if not state.get("aof_enabled"):
            return []
        # One that runs already may have begun before the removal.
        if await _no_rewriting(redis):
            await redis.bgrewriteaof()
            if await _no_rewriting(redis):
                state = await redis.info("persistence")
                why = "" if state.get("aof_last_bgrewrite_status") == "ok" else "it failed, see the log of Redis"
            else:
                why = "it takes longer than this command waits"
        else:
            why = "an earlier rewriting goes on for too long"
    except ResponseError as error:
        why = f"BGREWRITEAOF is refused: {error}"
    except QueueError as error:
        why = str(error)
    told = f"{shown}: its append-only file is not written anew ({why}) and holds what was removed until it is."
    return [told] if why else []


def _is_rewriting(state: Mapping[str, Any]) -> bool:
    return bool(state.get("aof_rewrite_in_progress") or state.get("aof_rewrite_scheduled"))


async def _no_rewriting(redis: Redis) -> bool:
    """Wait until Redis does not rewrite its file; False when that takes too long."""
    deadline = time.monotonic() + _REWRITE_LIMIT_S
    while _is_rewriting(await redis.info("persistence")):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


def _confirmed(device_id: str) -> bool:
    if not sys.stdin.isatty():
        raise OperatorError("this removes data for good: add --yes to go on")
    return input(f"Remove what waits or died of {device_id!r}, and drop what it sends, for good? [y/N] ").lower() == "y"
