"""Read the topic of dead letters without a consumer group, and filter its letters."""

import re
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from deploy.errors import OperatorError
from services.backbone.dead_letters import dead_letter_digest, decode_dead_letter, is_truncated, payload_digest
from services.backbone.events import InvalidEvent, decode_raw, type_of_path
from services.backbone.kafka import KafkaUnavailable, OffsetGone, Record, RecordBatch, TopicReader

_POLL_S: Final = 0.5
_STALL_LIMIT_S: Final = 20.0
_AGO: Final = re.compile(r"(\d{1,9})([smhd])")
_AGO_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class DeadLetterSummary(NamedTuple):
    """The description of a dead letter without its entry, so that a whole topic fits into memory."""

    partition: int
    offset: int
    time_ms: int
    stage: str
    reason: str
    attempt: str
    type: str
    """The event's type; empty when the entry can't be decoded."""
    id: str
    """The event's id; empty when the entry can't be decoded."""
    size: int
    """Bytes of the entry in the letter."""
    digest: bytes
    """Digest of the value and the time header of the letter. A rewritten letter has the same digest."""
    content: bytes
    """Digest of the entry. Several letters can contain the same entry."""

    @property
    def is_cut(self) -> bool:
        """Whether the letter holds only a part of its entry."""
        return is_truncated(self.reason)


class StoredDeadLetter(NamedTuple):
    """A dead letter as it is stored in the topic."""

    summary: DeadLetterSummary
    record: Record

    @property
    def entry(self) -> bytes:
        """The queue entry that could not be processed."""
        return self.record.value


class DeadLetterFilter(NamedTuple):
    """Selects dead letters."""

    since_ms: int = 0
    until_ms: int = 2**63
    reason: str = ""
    """A part of the reason; empty: any."""
    type: str = ""
    """The exact type; empty: any, including entries that can't be decoded."""

    def has(self, letter: DeadLetterSummary) -> bool:
        """Return whether a letter matches. `since` is inclusive, `until` is exclusive."""
        return (
            self.since_ms <= letter.time_ms < self.until_ms
            and self.reason in letter.reason
            and self.type in ("", letter.type)
        )


def parse_filter(
    *, since: str, until: str, reason: str, event_type: str, now_ms: int | None = None
) -> DeadLetterFilter:
    """Parse the flags of a task. An empty flag sets no limit. Raises OperatorError."""
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return DeadLetterFilter(
        since_ms=parse_time("--since", since, now_ms=now_ms) if since else 0,
        until_ms=parse_time("--until", until, now_ms=now_ms) if until else 2**63,
        reason=reason,
        type=event_type,
    )


def parse_time(flag: str, text: str, *, now_ms: int) -> int:
    """Return a time, RFC 3339 or an age (`90s`, `30m`, `2h`, `7d`), in ms since 1970. Raises OperatorError."""
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return now_ms - int(timedelta(**{_AGO_UNITS[ago[2]]: int(ago[1])}).total_seconds() * 1000)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise OperatorError(
            f'{flag}: invalid time "{text}". Use RFC 3339 (2026-11-23T10:00:00Z) or an age (90s, 30m, 2h, 7d).'
        )
    return int(moment.timestamp() * 1000)


def readable_time(time_ms: int) -> str:
    """Format a time as RFC 3339 in UTC, to the second. A time outside the calendar stays a number."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(time_ms)


async def read_dead_letters(
    reader: TopicReader, *, upto: Mapping[int, int] | None = None
) -> AsyncIterator[StoredDeadLetter]:
    """Yield the letters of the topic, in the order of each partition, up to its end or up to `upto`.

    Afterwards the reader's positions are the offsets after the last letters. Raises OperatorError.
    """
    try:
        reader.seek(await reader.beginning_offsets())
        end_offsets = await reader.end_offsets() if upto is None else dict(upto)
        async for partition, batch in _batches(reader, end_offsets, exact=upto is not None):
            for record in batch.records:
                if upto is None or record.offset < end_offsets.get(partition, 0):
                    yield _dead_letter(partition, record)
    except OffsetGone as error:
        raise OperatorError("Kafka deleted dead letters during the read: run the command again") from error
    except KafkaUnavailable as error:
        raise OperatorError(f"Kafka does not respond: {error}") from error


async def _batches(
    reader: TopicReader, end_offsets: Mapping[int, int], *, exact: bool
) -> AsyncIterator[tuple[int, RecordBatch]]:
    """Poll until the end offsets are reached.

    If `exact` is false, continue until a poll returns no record: some brokers (Tansu) report too low end offsets.
    """
    moved_at, before = time.monotonic(), reader.positions()
    while True:
        positions = reader.positions()
        behind = any(at < end_offsets.get(partition, 0) for partition, at in positions.items())
        if exact and not behind:
            return
        batches = await reader.poll(wait_s=_POLL_S)
        if not batches and not behind:
            return
        if batches or positions != before:  # positions also move past offsets without a letter
            moved_at, before = time.monotonic(), positions
        elif time.monotonic() - moved_at > _STALL_LIMIT_S:
            raise OperatorError(f"Kafka returned no dead letter for {_STALL_LIMIT_S:.0f} s, but there are more")
        for found in batches.items():
            yield found


def _dead_letter(partition: int, record: Any) -> StoredDeadLetter:
    letter = decode_dead_letter(record.value, record.headers)
    event_type, event_id = _type_and_id(letter.payload)
    summary = DeadLetterSummary(
        partition=partition,
        offset=record.offset,
        time_ms=record.timestamp if letter.time_ms is None else letter.time_ms,
        stage=letter.stage,
        reason=letter.reason,
        attempt="" if letter.attempt is None else str(letter.attempt),
        type=event_type,
        id=event_id,
        size=len(letter.payload),
        digest=dead_letter_digest(letter.payload, record.headers),
        content=payload_digest(letter.payload),
    )
    return StoredDeadLetter(summary, Record(letter.payload, record.key, tuple(record.headers), record.timestamp))


def _type_and_id(entry: bytes) -> tuple[str, str]:
    try:
        raw = decode_raw(entry)
    except InvalidEvent:
        return "", ""
    return type_of_path(raw.path), raw.id
