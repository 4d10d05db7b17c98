"""Single records of a topic, for the detail pane."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from services.backbone.kafka import KafkaUnavailable, OffsetGone, RecordBatch, TopicReader
from services.backbone.settings import KafkaSettings
from services.kafidx.core.events import WholeRecord, whole_event

_POLL_S: Final = 0.1
"""A poll that finds only a transaction marker takes this time."""
_LIMIT_S: Final = 5.0
_AT_ONCE: Final = 4


class EventGone(LookupError):
    """The topic does not hold this offset."""


class SingleRecords:
    """Reads single records, at most four at a time."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._reads = asyncio.Semaphore(_AT_ONCE)

    async def whole(self, partition: int, offset: int, *, end: int) -> dict[str, Any]:
        """Return one record. `end` is the end offset as far as it is known. Raises EventGone, KafkaUnavailable."""
        async with self._reads, TopicReader(self._settings, self._topic, max_poll_events=1) as reader:
            if partition not in reader.partitions:
                raise EventGone(f"the topic has no partition {partition}")
            reader.seek({partition: offset})
            try:
                async with asyncio.timeout(_LIMIT_S):
                    beginnings, ends = await reader.beginning_offsets(), await reader.end_offsets()
                    end = max(ends[partition], end)
                    if not beginnings[partition] <= offset < end:
                        first = beginnings[partition]
                        held = f"offsets {first} to {end - 1}" if end > first else "no records"
                        raise EventGone(f"partition {partition} holds {held}, not offset {offset}")
                    batches: Mapping[int, RecordBatch] = {}
                    while not batches and reader.positions()[partition] == offset:
                        batches = await reader.poll(wait_s=_POLL_S)
            except TimeoutError as error:
                raise KafkaUnavailable(f"no response within {_LIMIT_S} s") from error
            except OffsetGone as error:
                raise EventGone(f"partition {partition} no longer holds offset {offset}") from error
        if not batches or batches[partition].records[0].offset != offset:
            raise EventGone(
                f"partition {partition} has no event at offset {offset}: it holds a transaction marker, a record of an "
                "aborted transaction, or a record that compaction removed"
            )
        record = batches[partition].records[0]
        whole = WholeRecord(record.timestamp, record.key, record.value, tuple(record.headers))
        return whole_event(self._topic, partition, offset, whole)
