"""TopicWatch: reads the end of the topic of events, without a consumer group and without commits."""

import time
from collections.abc import Callable
from typing import NamedTuple

from services.backbone import names
from services.backbone.kafka import KafkaUnavailable, OffsetGone, RecordBatch, TopicReader
from services.backbone.record_headers import header_value
from services.backbone.settings import KafkaSettings

_POLL_S = 0.5
_SKEW_S = 60.0
"""Tolerated clock difference between a tracker, which sets the records' timestamps, and this process."""


class FoundRecord(NamedTuple):
    """The position of a record with a wanted id."""

    id: str
    partition: int
    offset: int


class TopicWatch:
    """Finds the records with wanted ids as they arrive in the topic."""

    def __init__(self, settings: KafkaSettings, *, back_s: float) -> None:
        """Skip records older than `back_s` plus the tolerated clock difference: their canaries are late already."""
        self._settings = settings
        self._back_s = back_s
        self._next: dict[int, int] = {}
        self._topic_id: str | None = None
        self.failure = "not connected yet"
        """The error that keeps the topic from being read; empty while it is read."""
        self.stopping = False
        """Ends `follow`. Set it before a cancellation: the Kafka client can swallow one."""

    async def follow(self, is_wanted: Callable[[str], bool], report: Callable[[FoundRecord], None]) -> None:
        """Read until `stopping` and call `report` for each wanted record.

        Raises KafkaUnavailable. The next call continues at the offset where this one ended, and skips records that are
        too old by then.
        """
        try:
            async with TopicReader(self._settings, names.EVENTS_TOPIC) as reader:
                await self._seek(reader)
                self.failure = ""
                while not self.stopping:
                    for partition, batch in (await self._poll(reader)).items():
                        for found in _wanted(partition, batch, is_wanted):
                            report(found)
                    self._next = reader.positions()
        except KafkaUnavailable as error:
            self.failure = str(error)
            raise

    async def _seek(self, reader: TopicReader) -> None:
        since_ms = int((time.time() - self._back_s - _SKEW_S) * 1000)
        if reader.topic.id != self._topic_id:
            self._next, self._topic_id = {}, reader.topic.id
        begins = await reader.end_offsets() | await reader.offsets_at(since_ms)
        reader.seek({partition: max(begin, self._next.get(partition, 0)) for partition, begin in begins.items()})

    async def _poll(self, reader: TopicReader) -> dict[int, RecordBatch]:
        try:
            return await reader.poll(wait_s=_POLL_S)
        except OffsetGone:
            # Retention removed these offsets, or the topic was recreated. Continue at its current end.
            reader.seek(await reader.end_offsets())
            return {}


def _wanted(partition: int, batch: RecordBatch, is_wanted: Callable[[str], bool]) -> list[FoundRecord]:
    # The counters read the id with the same function (`events.fingerprint`).
    ids = (
        (record.offset, header_value(record.headers, names.HEADER_EVENT_ID).decode("utf-8", "replace"))
        for record in batch.records
    )
    return [FoundRecord(event_id, partition, offset) for offset, event_id in ids if is_wanted(event_id)]
