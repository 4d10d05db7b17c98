"""The dead letters: pages of the topic `events.dead`, newest first."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.backbone import names
from services.backbone.dead_letters import decode_dead_letter
from services.backbone.kafka import KafkaUnavailable, OffsetGone, TopicReader
from services.backbone.settings import KafkaSettings
from services.kafidx.core.events import printable
from services.kafidx.core.positions import last
from services.kafidx.store.ends import TopicEnds

DEAD_LETTERS: Final = 25
_SHOWN_BYTES: Final = 4096
_POLL_S: Final = 0.5
_LIMIT_S: Final = 5.0
_AROUND_MS: Final = 1000
_CACHED_PAGES: Final = 16
_FRESH_S: Final = 2.0
"""How long a page is shown again: letters that are deleted at the begin of the topic leave its ends where they are."""


@dataclass(frozen=True)
class Letter:
    """One dead letter; the names are those of the template and of the JSON."""

    partition: int
    offset: int
    time_ms: int
    stage: str
    reason: str
    attempt: int | None
    text: str
    """The original bytes, cut; what is not UTF-8 is written as \\x.."""
    size: int
    cut: bool
    live_url: str
    """The live view of the dead letters, from this very one on."""
    events_url: str
    """The live view of the events, from just before the time of the letter on."""


@dataclass(frozen=True)
class DeadPage:
    """A page of letters, newest first."""

    dead_letters: tuple[Letter, ...]
    total: int
    older: Mapping[int, int] | None
    """The offsets that the page of older ones ends before; None when there are none."""


class DeadLetters:
    """Reads the topic of dead letters, without a group."""

    def __init__(self, settings: KafkaSettings, ends: TopicEnds) -> None:
        self._settings = settings
        self._ends = ends
        self._pages: dict[tuple[tuple[int, int], ...], tuple[float, DeadPage]] = {}
        self._reading = asyncio.Lock()

    async def page(self, before: Mapping[int, int] | None = None) -> DeadPage:
        """Return the letters before these offsets, or the newest. Raises KafkaUnavailable."""
        ends = await self._ends.get()
        upto = {p: min(end, (before or {}).get(p, end)) for p, end in ends.items()}
        key = (*sorted(ends.items()), *sorted(upto.items()))
        # Open pages ask every two seconds: however many there are, Kafka is read once for all of them.
        async with self._reading:
            read_at_s, page = self._pages.get(key, (float("-inf"), None))
            if page is None or time.monotonic() - read_at_s >= _FRESH_S:
                self._pages.pop(key, None)
                page = await self._read(upto, ends)
                if len(self._pages) >= _CACHED_PAGES:
                    self._pages.pop(next(iter(self._pages)))
                self._pages[key] = time.monotonic(), page
            return page

    async def _read(self, upto: Mapping[int, int], ends: Mapping[int, int]) -> DeadPage:
        try:
            async with (
                asyncio.timeout(_LIMIT_S),
                TopicReader(self._settings, names.DEAD_LETTER_TOPIC, max_poll_events=DEAD_LETTERS) as reader,
            ):
                begins = await reader.beginning_offsets()
                starts = last(DEAD_LETTERS, begins, {p: max(begins.get(p, 0), at) for p, at in upto.items()})
                dead_letters = await self._dead_letters(reader, starts, upto)
        except TimeoutError as error:
            raise KafkaUnavailable(f"no answer within {_LIMIT_S} s") from error
        newest_first = tuple(sorted(dead_letters, key=lambda letter: (letter.time_ms, letter.offset), reverse=True))
        total = sum(max(0, end - begins.get(p, 0)) for p, end in ends.items())
        has_older = any(at > begins.get(p, 0) for p, at in starts.items())
        return DeadPage(newest_first, total, starts if has_older else None)

    async def _dead_letters(
        self, reader: TopicReader, starts: Mapping[int, int], upto: Mapping[int, int]
    ) -> list[Letter]:
        dead_letters: list[Letter] = []
        reader.seek({p: at for p, at in starts.items() if at < upto[p]})
        while any(at < upto[p] for p, at in reader.positions().items()):
            try:
                batches = await reader.poll(wait_s=_POLL_S)
            except OffsetGone as gone:
                raise KafkaUnavailable(str(gone)) from gone  # retention has just passed; the next look is right
            for partition, batch in batches.items():
                records = (record for record in batch.records if record.offset < upto[partition])
                dead_letters += [_letter(partition, record) for record in records]
        return dead_letters


def _letter(partition: int, record: Any) -> Letter:
    letter = decode_dead_letter(record.value, record.headers)
    when_ms = record.timestamp if letter.time_ms is None else letter.time_ms
    return Letter(
        partition=partition,
        offset=record.offset,
        time_ms=when_ms,
        stage=letter.stage[:_SHOWN_BYTES],
        reason=letter.reason[:_SHOWN_BYTES],
        attempt=letter.attempt,
        text=printable(letter.payload[:_SHOWN_BYTES]),
        size=len(letter.payload),
        cut=len(letter.payload) > _SHOWN_BYTES,
        live_url=f"/kafidx?topic={names.DEAD_LETTER_TOPIC}&from=offset:{partition}:{record.offset}",
        events_url=f"/kafidx?from=time:{max(0, when_ms - _AROUND_MS)}",
    )
