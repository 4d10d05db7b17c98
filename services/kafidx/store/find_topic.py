"""The search in a topic, from a time on to its end, within bounds of records and time."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from services.backbone import names
from services.backbone.dead_letters import decode_dead_letter
from services.backbone.kafka import KafkaUnavailable, OffsetGone, TopicReader
from services.backbone.search import Target, TargetMatcher
from services.backbone.settings import KafkaSettings
from services.kafidx.core.find import MOST_PLACES, RecordPosition, TopicResult

MOST_RECORDS: Final = 500_000
"""The most records that one search reads of a topic."""
LIMIT_S: Final = 20.0
"""The time limit of the search in one topic."""
_POLL_S: Final = 0.3
_POLL_RECORDS: Final = 500
"""Decoding them blocks the event loop for about four milliseconds."""
_LONGEST_PAUSE_S: Final = 0.02

_Match = Callable[[int, Any], list[tuple[int, RecordPosition]]]
"""Returns the targets of a record of a partition, with its position."""


async def search_events(settings: KafkaSettings, targets: Sequence[Target], *, since_ms: int) -> list[TopicResult]:
    """Return the records of the topic `events` for each target. Never raises: a result can have an error."""
    matcher = TargetMatcher(targets)

    def match(partition: int, record: Any) -> list[tuple[int, RecordPosition]]:
        matching = matcher.match_record(record.value or b"", record.headers)
        if not matching:
            return []
        url = f"/kafidx?from=offset:{partition}:{record.offset}"
        return [(target, RecordPosition(partition, record.offset, record.timestamp, url)) for target in matching]

    return await _search(settings, names.EVENTS_TOPIC, targets, match, since_ms)


async def search_dead_letters(
    settings: KafkaSettings, targets: Sequence[Target], *, since_ms: int
) -> list[TopicResult]:
    """Return the dead letters for each target, like search_events. Their original bytes are searched."""
    matcher = TargetMatcher(targets)

    def match(partition: int, record: Any) -> list[tuple[int, RecordPosition]]:
        matching = matcher.match_entry(record.value or b"")
        if not matching.targets:
            return []
        letter = decode_dead_letter(record.value, record.headers)
        position = RecordPosition(
            partition,
            record.offset,
            record.timestamp if letter.time_ms is None else letter.time_ms,
            f"/dead?before={partition}:{record.offset + 1}",
            letter.reason,
            letter.stage,
            letter.attempt,
            matching.decodable,
        )
        return [(target, position) for target in matching.targets]

    return await _search(settings, names.DEAD_LETTER_TOPIC, targets, match, since_ms)


async def _search(
    settings: KafkaSettings, topic: str, targets: Sequence[Target], match: _Match, since_ms: int
) -> list[TopicResult]:
    search = _Search(targets, match, since_ms)
    error = ""
    try:
        async with (
            asyncio.timeout(LIMIT_S + _POLL_S),
            TopicReader(settings, topic, max_poll_events=_POLL_RECORDS) as reader,
        ):
            await search.read(reader)
    except TimeoutError:
        search.complete = False
    except (KafkaUnavailable, OffsetGone) as failure:
        error = str(failure)
    return [search.result(target, error) for target in range(len(targets))]


class _Search:
    """The state of the search in one topic."""

    def __init__(self, targets: Sequence[Target], match: _Match, since_ms: int) -> None:
        self._match = match
        self._since_ms = self._end_ms = since_ms
        self._deadline_s = time.monotonic() + LIMIT_S
        self._records = 0
        # An id can have duplicates, and its first record counts. Events without an id are alike: show the newest.
        self._is_id = [bool(target.id) for target in targets]
        self._found: list[deque[RecordPosition]] = [deque() for _ in targets]
        self._counts = [0] * len(targets)
        self.complete = False

    async def read(self, reader: TopicReader) -> None:
        """Read from the time on to the end that the topic has now."""
        now_ms = time.time_ns() // 1_000_000
        ends, beginnings = await reader.end_offsets(), await reader.beginning_offsets()
        at_time = await reader.offsets_at(self._since_ms)
        reader.seek({p: max(at_time.get(p, end), beginnings.get(p, 0)) for p, end in ends.items()})
        while self._records < MOST_RECORDS and time.monotonic() < self._deadline_s:
            at_end = all(at >= ends[p] for p, at in reader.positions().items())
            begin_s = time.monotonic()
            batches = await reader.poll(wait_s=_POLL_S)
            for partition, batch in batches.items():
                self._take(partition, batch.records)
            # One more poll at the end, since the end offsets of Tansu include only one record of the last batch.
            if at_end:
                self.complete = True
                self._end_ms = now_ms
                return
            # As long as the poll took: live views and pages get half of the CPU time.
            await asyncio.sleep(min(time.monotonic() - begin_s, _LONGEST_PAUSE_S))

    def _take(self, partition: int, records: Sequence[Any]) -> None:
        for record in records:
            for target, position in self._match(partition, record):
                self._counts[target] += 1
                found = self._found[target]
                if len(found) < MOST_PLACES:
                    found.append(position)
                elif not self._is_id[target]:
                    found.popleft()
                    found.append(position)
        self._records += len(records)
        if records:
            self._end_ms = max(self._end_ms, records[-1].timestamp)

    def result(self, target: int, error: str) -> TopicResult:
        """Return the result for the target with this index."""
        found = sorted(
            self._found[target], key=lambda found: (found.time_ms, found.offset), reverse=not self._is_id[target]
        )
        return TopicResult(
            tuple(found), self._counts[target], self._records, self._since_ms, self._end_ms, self.complete, error
        )
