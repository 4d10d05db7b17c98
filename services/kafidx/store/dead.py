"""Pages of the dead letters in the topic `events.dead`, newest first."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.backbone import names
from services.backbone.dead_letters import decode_dead_letter
from services.backbone.kafka import KafkaUnavailable, OffsetGone, TopicReader
from services.backbone.settings import KafkaSettings
from services.kafidx.core.events import HIGHEST_TIME_MS, printable
from services.kafidx.store.ends import TopicEnds
from services.kafidx.store.last import read_last

PAGE_SIZE: Final = 25
_SHOWN_BYTES: Final = 4096
_LIMIT_S: Final = 5.0
_AROUND_MS: Final = 1000
_CACHED_PAGES: Final = 16
_FRESH_S: Final = 2.0
"""How long a page is cached. Its key has only end offsets, which do not change when dead letters are deleted."""


@dataclass(frozen=True)
class Letter:
    """One dead letter. The template and the JSON use these names."""

    partition: int
    offset: int
    time_ms: int
    stage: str | None
    """None when the header is missing, null or empty. The same for `reason`."""
    reason: str | None
    attempt: int | None
    text: str | None
    """The first 4 KiB of the original bytes. Each byte that is not UTF-8 is written as \\xNN. None for a null value."""
    size: int
    cut: bool
    live_url: str
    """The live view of the dead letters, from this one on."""
    events_url: str
    """The live view of the events, from one second before the time of this dead letter."""


@dataclass(frozen=True)
class DeadPage:
    """A page of dead letters, newest first."""

    dead_letters: tuple[Letter, ...]
    total: int
    """Offsets of the topic, with transaction markers. It is the number of letters when the page holds all of them."""
    older: Mapping[int, int] | None
    """The offsets before which the next older page ends, or None when there are no older dead letters."""


class DeadLetters:
    """Reads the topic of dead letters without a consumer group."""

    def __init__(self, settings: KafkaSettings, ends: TopicEnds) -> None:
        self._settings = settings
        self._ends = ends
        self._pages: dict[tuple[tuple[int, int], ...], tuple[float, DeadPage]] = {}
        self._reading = asyncio.Lock()

    async def page(self, before: Mapping[int, int] | None = None) -> DeadPage:
        """Return the dead letters before these offsets, by default the newest. Raises KafkaUnavailable."""
        ends = await self._ends.get()
        upto = {p: min(end, (before or {}).get(p, end)) for p, end in ends.items()}
        key = (*sorted(ends.items()), *sorted(upto.items()))
        # Each open page is refreshed every two seconds. One read of Kafka serves all of them.
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
                TopicReader(self._settings, names.DEAD_LETTER_TOPIC, max_poll_events=PAGE_SIZE) as reader,
            ):
                beginnings = await reader.beginning_offsets()
                upto = {p: max(beginnings[p], at) for p, at in upto.items() if p in beginnings}
                last = await read_last(reader, PAGE_SIZE, beginnings, upto, keep=_letter)
        except TimeoutError as error:
            raise KafkaUnavailable(f"no response within {_LIMIT_S} s") from error
        except OffsetGone as gone:
            raise KafkaUnavailable(str(gone)) from gone  # retention removed them meanwhile; the next read succeeds
        newest_first = tuple(sorted(last.records, key=lambda letter: (letter.time_ms, letter.offset), reverse=True))
        total = sum(max(0, end - beginnings.get(p, 0)) for p, end in ends.items())
        if not last.has_older and all(upto.get(p) == end for p, end in ends.items()):
            total = len(newest_first)
        return DeadPage(newest_first, total, last.starts if last.has_older else None)


def _letter(partition: int, record: Any) -> Letter:
    # Cut before decoding: 1 MB that is not UTF-8 blocks the event loop for 140 ms. A character has at most four bytes.
    headers = [(name, value and value[: 4 * _SHOWN_BYTES]) for name, value in record.headers]
    letter = decode_dead_letter(record.value, headers)
    when_ms = record.timestamp if letter.time_ms is None else letter.time_ms
    return Letter(
        partition=partition,
        offset=record.offset,
        time_ms=when_ms,
        stage=letter.stage[:_SHOWN_BYTES] or None,
        reason=letter.reason[:_SHOWN_BYTES] or None,
        attempt=letter.attempt,
        text=None if record.value is None else printable(letter.payload[:_SHOWN_BYTES]),
        size=len(letter.payload),
        cut=len(letter.payload) > _SHOWN_BYTES,
        live_url=f"/kafidx?topic={names.DEAD_LETTER_TOPIC}&from=offset:{partition}:{record.offset}",
        events_url=f"/kafidx?from=time:{min(max(0, when_ms - _AROUND_MS), HIGHEST_TIME_MS)}",
    )
