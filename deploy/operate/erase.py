"""Erase a device: reject its future events, and remove its queued entries, its dead letters and its dead actions."""

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, quote_plus, unquote_to_bytes

from redis.asyncio import Redis
from redis.exceptions import ResponseError
from rich.console import Console
from rich.status import Status as Spinner

from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from deploy.operate import variables
from deploy.operate.actions_redis import connect_actions
from deploy.operate.dead import quieten
from deploy.operate.dead_letters import read_dead_letters
from deploy.operate.endpoints import Endpoints, without_password
from deploy.operate.erase_actions import erase_actions
from deploy.operate.queue_admin import QueueAdmin
from services.backbone import names
from services.backbone.erasure import device_digest, is_erased
from services.backbone.events import InvalidEvent, decode_raw
from services.backbone.kafka import EventProducer, KafkaUnavailable, Record, TopicReader, delete_records
from services.backbone.queue import QueueError
from services.backbone.redis import connect
from services.backbone.settings import KafkaSettings

_REDIS_TIMEOUT_S: Final = 5.0
_REMOVED_AT_ONCE: Final = 4  # each removal scans the list, which blocks Redis
_WRITTEN_AT_ONCE_BYTES: Final = 4_000_000
_CLAIMS_LIMIT_S: Final = 120.0  # a lease, plus the time that kafkastore keeps a batch which Kafka rejects
_REWRITE_LIMIT_S: Final = 120.0
_POLL_S: Final = 0.2

UNTOUCHED: Final = (
    "events in the topic `events`: they stay until its retention ends, and consumers may have read them",
    "actions that a consumer has taken: they end when what they call responds. If one dies then, run the command again",
    "dead replies to chats: they contain the message, but no device id. Delete them on the page /dead",
    "the counters and the ledger: they contain no device id",
    "the latest events in the memory of kafidx: newer events replace them",
    "the offers, searches, pairs, chat channels and token of the device in storage: delete its objects there",
    "the broker's files: deleted records stay on disk until Kafka removes their segment",
    "later dead letters and entries that can't be decoded: they contain no readable device id",
)
"""The data that a run does not erase. `erase` prints this list."""


class ErasureResult(NamedTuple):
    """The numbers of removed entries, dead letters and actions, and the failed steps."""

    from_lists: int
    dead_letters: int
    actions: int
    errors: tuple[str, ...]
    """A sentence for each step that failed. If there is one, the exit code is 1."""


def erase(
    endpoints: Endpoints,
    device_id: str,
    *,
    environ: Mapping[str, str],
    yes: bool,
    claims_limit_s: float = _CLAIMS_LIMIT_S,
) -> int:
    """Erase a device and print what was removed. Returns 1 when a step failed.

    A second run is safe. After a failure, it is necessary. `environ` contains MAX_EVENT_BYTES and KAFKA_IDEMPOTENCE.
    Raises OperatorError.
    """
    if not device_id:
        raise OperatorError("--id is missing: erase --id DEVICE")
    settings = variables.read(KafkaSettings, {**environ, "KAFKA_BOOTSTRAP_SERVERS": endpoints.bootstrap_servers})
    if not yes and not _confirmed(device_id):
        raise OperatorError("cancelled: nothing was erased")
    quieten()
    result = run_interruptible(_erase(endpoints, device_id, settings=settings, claims_limit_s=claims_limit_s))
    console = Console()
    console.print("marked as erased: kafkastore drops future events of this device")
    console.print(f"{result.from_lists:,} entries removed from the queue in Redis")
    console.print(f"{result.dead_letters:,} dead letters removed")
    console.print(f"{result.actions:,} dead and retried actions removed")
    console.print("not erased:")
    for line in UNTOUCHED:
        console.print(f"  {line}", highlight=False)
    for error in result.errors:
        console.print(error, style="bold red", highlight=False)
    return 1 if result.errors else 0


async def _erase(
    endpoints: Endpoints, device_id: str, *, settings: KafkaSettings, claims_limit_s: float
) -> ErasureResult:
    console = Console()
    clients = [connect(url, timeout_s=_REDIS_TIMEOUT_S) for url in endpoints.queue_urls]
    actions = connect_actions(endpoints)
    removed = 0
    errors: list[str] = []
    try:
        for url, redis in zip(endpoints.queue_urls, clients, strict=True):
            shown = without_password(url)
            try:
                with console.status(f"{shown}: marking") as spinner:
                    removed += await _erase_in_redis(
                        QueueAdmin(redis), device_id, errors, spinner, shown=shown, limit_s=claims_limit_s
                    )
            except QueueError as error:
                raise OperatorError(
                    f"Redis at {shown} does not respond: {error}\n"
                    "The device may not be marked there: run the command again when Redis is up."
                ) from error
        with console.status("reading the dead letters"):
            dead_letters = await _erase_dead_letters(endpoints, device_id, settings, errors)
        with console.status("searching the dead actions"):
            erased_actions = await erase_actions(actions, endpoints.actions_url, device_id, errors)
        urls = (*endpoints.queue_urls, endpoints.actions_url)
        for url, redis in zip(urls, (*clients, actions), strict=True):
            with console.status(f"{without_password(url)}: rewriting its append-only file"):
                errors += await _rewrite_file(redis, without_password(url))
    finally:
        for redis in (*clients, actions):
            await redis.aclose()
    return ErasureResult(removed, dead_letters, erased_actions, tuple(errors))


async def _erase_in_redis(  # noqa: PLR0913 - all are inputs
    queue: QueueAdmin, device_id: str, errors: list[str], spinner: Spinner, *, shown: str, limit_s: float
) -> int:
    """Mark the device, wait until every claim from before the mark is released, and remove its queued entries."""
    await queue.erase(device_digest(device_id))
    held = await queue.claims()  # every later claim of kafkastore drops the entries of the device
    removed = await _remove_waiting(queue, device_id)
    deadline = time.monotonic() + limit_s
    while left := held & await queue.claims():
        if time.monotonic() > deadline:
            errors.append(
                f"{shown}: {len(left)} batches were claimed before the mark and are still held. Events\n"
                "of this device in these batches may reach `events` or `events.dead`. Run the command again later."
            )
            break
        spinner.update(f"{shown}: waiting for {len(left)} batches that were claimed before the mark")
        await queue.reclaim()  # releases the claims of dead instances, even when no kafkastore runs
        await asyncio.sleep(_POLL_S)
    return removed + await _remove_waiting(queue, device_id)  # the released claims put their entries back into the list


async def _remove_waiting(queue: QueueAdmin, device_id: str) -> int:
    """Remove the entries of the device from the list. kafkastore drops remaining entries that it can decode."""
    found = [entry async for entry in queue.waiting() if belongs_to(entry, device_id)]
    removed = 0
    for first in range(0, len(found), _REMOVED_AT_ONCE):
        removed += await queue.remove(found[first : first + _REMOVED_AT_ONCE])
    return removed


def belongs_to(entry: bytes, device_id: str) -> bool:
    """Return whether an entry belongs to a device. An undecodable entry belongs to it when the entry contains the id.

    The id is searched for as plain text and percent-encoded. A short id can match bytes that are not an id.
    """
    try:
        return is_erased(decode_raw(entry), frozenset((device_digest(device_id),)))
    except InvalidEvent:
        plain = device_id.encode("utf-8", "replace")
        written = {plain, quote(plain, safe="").encode(), quote_plus(plain).encode()}
        return any(form in entry for form in written) or plain in unquote_to_bytes(entry.replace(b"+", b" "))


async def _erase_dead_letters(endpoints: Endpoints, device_id: str, settings: KafkaSettings, errors: list[str]) -> int:
    """Remove the dead letters of the device. Return their number.

    Kafka can't delete single records. So copy the letters of other devices to the end of the partition, and then delete
    all records before the old end offset. With this order, an interrupted run loses no letter. It can leave duplicates.
    The next run and a replay ignore them.
    """
    try:
        async with TopicReader(settings, names.DEAD_LETTER_TOPIC) as reader:
            found: dict[int, int] = {}
            async for letter in read_dead_letters(reader):
                if belongs_to(letter.entry, device_id):
                    found[letter.summary.partition] = found.get(letter.summary.partition, 0) + 1
            if not found:
                return 0
            end_offsets = {partition: end for partition, end in reader.positions().items() if partition in found}
            begins = await reader.beginning_offsets()
            nothing = {partition: begins[partition] for partition in found}
            if not await _can_delete(endpoints, reader, nothing):
                errors.append(
                    f"{sum(found.values()):,} letters stay in {names.DEAD_LETTER_TOPIC}: this broker can't\n"
                    "delete records (Apache Kafka can). They stay until the retention of the topic ends."
                )
                return 0
            await _write_others(settings, reader, device_id, upto=end_offsets)
            await delete_records(endpoints.bootstrap_servers, names.DEAD_LETTER_TOPIC, end_offsets)
    except KafkaUnavailable as error:
        raise OperatorError(
            f"Kafka at {endpoints.bootstrap_servers} does not respond: {error}\n"
            "The device's dead letters may still exist: run the command again when Kafka is up."
        ) from error
    return sum(found.values())


async def _can_delete(endpoints: Endpoints, reader: TopicReader, nothing: Mapping[int, int]) -> bool:
    """Return whether the broker can delete records: delete the records before the first offset, which do not exist.

    Raises KafkaUnavailable.
    """
    try:
        return await delete_records(endpoints.bootstrap_servers, names.DEAD_LETTER_TOPIC, nothing)
    except KafkaUnavailable:
        # Tansu closes the connection at this request. A broker that responds to the next request is up.
        await reader.end_offsets()
        return False


async def _write_others(
    settings: KafkaSettings, reader: TopicReader, device_id: str, *, upto: Mapping[int, int]
) -> None:
    """Write the letters of other devices again, unchanged. Raises OperatorError before anything is deleted."""
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
            f"{names.DEAD_LETTER_TOPIC} rejects letters that it already holds: they are larger than its\n"
            "max.message.bytes or than MAX_EVENT_BYTES. Nothing was deleted. Raise the limit and run the command\n"
            "again."
        )


async def _rewrite_file(redis: Redis, shown: str) -> list[str]:
    """Rewrite the append-only file of Redis, if there is one. The old file still contains the removed entries."""
    try:
        state = await redis.info("persistence")
        if not state.get("aof_enabled"):
            return []
        # A rewrite that is already running may have begun before the removal.
        if await _no_rewriting(redis):
            await redis.bgrewriteaof()
            if await _no_rewriting(redis):
                state = await redis.info("persistence")
                why = "" if state.get("aof_last_bgrewrite_status") == "ok" else "it failed, see the log of Redis"
            else:
                why = "it takes too long"
        else:
            why = "an earlier rewrite takes too long"
    except ResponseError as error:
        why = f"Redis rejected BGREWRITEAOF: {error}"
    except QueueError as error:
        why = str(error)
    report = f"{shown}: its append-only file was not rewritten ({why}). The file still contains the removed entries."
    return [report] if why else []


def _is_rewriting(state: Mapping[str, Any]) -> bool:
    return bool(state.get("aof_rewrite_in_progress") or state.get("aof_rewrite_scheduled"))


async def _no_rewriting(redis: Redis) -> bool:
    """Wait until Redis rewrites no file. Returns False when that takes too long."""
    deadline = time.monotonic() + _REWRITE_LIMIT_S
    while _is_rewriting(await redis.info("persistence")):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


def _confirmed(device_id: str) -> bool:
    if not sys.stdin.isatty():
        raise OperatorError("this deletes data permanently: confirm with --yes")
    return input(f"Permanently remove the queued entries and dead letters of {device_id!r}? [y/N] ").lower() == "y"
