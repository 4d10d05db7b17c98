"""TopicWatch: reads the live end of the topic of events, over outages, without leaving a trace."""

import time
from collections.abc import Callable
from typing import NamedTuple

from services.backbone import names
from services.backbone.kafka import KafkaUnavailable, OffsetGone, RecordBatch, TopicReader
from services.backbone.settings import KafkaSettings

_POLL_S = 0.5
_SKEW_S = 60.0
"""How far a tracker's clock, which stamps the records, may be from this one's: so much more of the past is read."""


class Found(NamedTuple):
    """A record whose id was looked for."""

    id: str
    partition: int
    offset: int


class TopicWatch:
    """Finds the records of certain ids in the topic as they come."""

    def __init__(self, settings: KafkaSettings, *, back_s: float) -> None:
        """Each reading begins `back_s` ago at the earliest: what is older is no longer looked for."""
        self._settings = settings
        self._back_s = back_s
        self._next: dict[int, int] = {}
        self._topic_id: str | None = None
        self.failure = "not connected yet"
        """Why the topic can't be read; empty while it can."""
        self.stopping = False
        """Ends the reading. Set it before cancelling: the Kafka client can swallow a cancellation."""

    async def follow(self, is_wanted: Callable[[str], bool], report: Callable[[Found], None]) -> None:
        """Read until `stopping`, and tell each wanted record as it comes.

        Raises KafkaUnavailable. The next call goes on where this one ended, and passes over what is too old by then.
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
            # Retention was faster, or the topic was made anew: on from where it ends now.
            reader.seek(await reader.end_offsets())
            return {}


def _wanted(partition: int, batch: RecordBatch, is_wanted: Callable[[str], bool]) -> list[Found]:
    # The first header of that name, as whoever counts the event reads it.
    ids = ((record.offset, _id(record.headers)) for record in batch.records)
    return [Found(event_id, partition, offset) for offset, event_id in ids if is_wanted(event_id)]


def _id(headers: tuple[tuple[str, bytes], ...]) -> str:
    return next((value.decode("utf-8", "replace") for name, value in headers if name == names.HEADER_EVENT_ID), "")
