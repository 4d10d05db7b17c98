"""One topic: a shared reader of its live end, and one more reader for each subscriber that starts in the past.

The readers use no consumer group and commit no offsets. The live reader stays open for 15 s after the last subscriber
has left. A subscriber that reconnects in this time finds the events in between.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from services.backbone import names
from services.backbone.backoff import Backoff
from services.backbone.kafka import KafkaUnavailable, OffsetGone, RecordBatch, TopicReader
from services.backbone.logs import get_logger
from services.kafidx.core.events import NULL_VALUE, LiveEvent, why_dead
from services.kafidx.core.filters import Filter
from services.kafidx.core.live import Activity, OpenViews, RecentEvents, RowQueue, in_order
from services.kafidx.core.positions import Start, start_offsets
from services.kafidx.metrics import Metrics
from services.kafidx.settings import Settings
from services.kafidx.store.last import last_starts
from services.kafidx.store.record import SingleRecords
from services.kafidx.store.subscriber import Subscriber

log = get_logger(__name__)

_POLL_S: Final = 0.5
_GATHER_S: Final = 0.01
"""The pause after a poll with records. At high rates it merges many small batches into a few large ones."""
_LINGER_S: Final = 15.0
"""The live reader closes after this time without a subscriber."""
_PAST_POLL_EVENTS: Final = 500
_JOIN_BYTES: Final = 1024
"""The estimated size of a row that is not encoded yet."""
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0


class LiveTopic:
    """One topic and its subscribers."""

    def __init__(self, settings: Settings, metrics: Metrics, topic: str, views: OpenViews) -> None:
        """Prepare without connecting. `views` counts the subscribers of all topics."""
        self._settings = settings
        self._views = views
        self._metrics = metrics
        self._topic = topic
        self._subscribers: set[Subscriber] = set()
        self._live: set[Subscriber] = set()
        self._recent = RecentEvents(max_bytes=settings.recent_bytes)
        self._activity = Activity()
        self._next: dict[int, int] = {}
        self._topic_id: str | None = None
        self._reader: TopicReader | None = None
        self._reading: asyncio.Task[None] | None = None
        self._opening = asyncio.Lock()
        self._records = SingleRecords(settings, topic)
        self._opening_views = 0
        self._away = False
        """Whether Kafka does not respond to the live reader."""

    @property
    def subscribers(self) -> frozenset[Subscriber]:
        """The subscribers that are open."""
        return frozenset(self._subscribers)

    async def subscribe(self, event_filter: Filter, start: Start) -> Subscriber:
        """Open a subscriber. Always pair with `leave()`. Raises TooManyViews, KafkaUnavailable."""
        self._views.enter()
        self._opening_views += 1
        try:
            reader = await self._open()
            queue = RowQueue(max_rows=self._settings.queue_events, max_bytes=self._settings.queue_bytes)
            subscriber = Subscriber(event_filter, queue, self._metrics)
            subscriber.types = self._top_types
            if start.kind == "end":
                subscriber.next = dict(self._next)
                self._go_live(subscriber)
            else:
                await self._set_start(subscriber, start, reader)
                if not self._join(subscriber):
                    subscriber.catching_up = asyncio.create_task(self._catch_up(subscriber))
                    subscriber.catching_up.add_done_callback(partial(_fail_with, [subscriber]))
        except BaseException:
            self._views.leave()
            raise
        finally:
            self._opening_views -= 1
        self._subscribers.add(subscriber)
        return subscriber

    async def leave(self, subscriber: Subscriber) -> None:
        """Close a subscriber and drop its queued rows. Closing it again has no effect."""
        if subscriber in self._subscribers:
            self._subscribers.discard(subscriber)
            self._views.leave()
        self._live.discard(subscriber)
        if subscriber.catching_up is not None:
            subscriber.catching_up.cancel()
            await asyncio.gather(subscriber.catching_up, return_exceptions=True)

    async def event(self, partition: int, offset: int) -> dict[str, Any]:
        """Return one whole event. Raises EventGone, KafkaUnavailable."""
        # Some brokers (Tansu) report end offsets that are too low. The live reader has seen the real ones.
        return await self._records.whole(partition, offset, end=self._next.get(partition, 0))

    @property
    def queued_bytes(self) -> int:
        """Bytes of rows in the queues of all subscribers."""
        return sum(subscriber.queue.bytes for subscriber in self._subscribers)

    def lag(self) -> dict[int, int]:
        """Return the number of records that the live reader has not read yet, by partition."""
        ends = self._ends()
        return {partition: max(0, ends.get(partition, at) - at) for partition, at in self._next.items()}

    async def aclose(self) -> None:
        for subscriber in self.subscribers:
            await self.leave(subscriber)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    # The live end --------------------------------------------------------------------------------------------

    async def _open(self) -> TopicReader:
        """Return the live reader. Open it first if it is closed."""
        async with self._opening:
            if self._away:
                raise KafkaUnavailable("the live reader has no connection to the brokers")
            if self._reader is None or self._reading is None or self._reading.done():
                async with contextlib.AsyncExitStack() as stack:
                    reader = await stack.enter_async_context(TopicReader(self._settings, self._topic))
                    self._next, self._topic_id = await reader.end_offsets(), reader.topic.id
                    self._recent.restart(self._next)
                    reader.seek(self._next)
                    self._reader = reader
                    self._reading = asyncio.create_task(self._keep_reading(reader, stack.pop_all()))
                    self._reading.add_done_callback(partial(_fail_with, self._subscribers))
                log.info("live_end_opened", positions={str(p): at for p, at in self._next.items()})
            return self._reader

    async def _keep_reading(self, reader: TopicReader, stack: contextlib.AsyncExitStack) -> None:
        """Read until no subscriber is left. When Kafka fails, mark the subscribers and continue at the same offsets."""
        backoff = Backoff(first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S)
        try:
            while True:
                try:
                    if self._away:
                        reader = await stack.enter_async_context(TopicReader(self._settings, self._topic))
                        await self._continue(reader)
                        self._reader = reader
                        backoff.reset()
                        self._report_away(away=False)
                    await self._read(reader)
                except KafkaUnavailable as error:
                    log.warning("kafka_unavailable", error=str(error), failures=backoff.failures)
                else:
                    return
                self._reader = None
                self._report_away(away=True)
                await stack.aclose()
                await asyncio.sleep(backoff.next_s())
                if not self._subscribers:
                    return
        finally:
            self._reader, self._away = None, False
            await stack.aclose()
            log.info("live_end_closed")

    async def _continue(self, reader: TopicReader) -> None:
        """Seek a new reader to the offsets of the last one. New partitions and a new topic start at their beginning."""
        beginnings = await reader.beginning_offsets()
        is_same = reader.topic.id == self._topic_id
        if not is_same or beginnings.keys() != self._next.keys():
            log.warning("topic_changed", topic_id=reader.topic.id, partitions=len(beginnings))
            self._next = {
                p: self._next.get(p, beginning) if is_same else beginning for p, beginning in beginnings.items()
            }
            self._topic_id = reader.topic.id
            self._recent.restart(self._next)
            for subscriber in self._live:
                subscriber.next = {p: at for p, at in subscriber.next.items() if p in beginnings}
                for partition, position in self._next.items():
                    subscriber.skip_to(partition, position)
        reader.seek(self._next)

    def _report_away(self, *, away: bool) -> None:
        self._away = away
        for subscriber in self._live:
            subscriber.kafka_away = away

    async def _read(self, reader: TopicReader) -> None:
        idle_since_s = time.monotonic()
        while True:
            if self._subscribers or self._opening_views:
                idle_since_s = time.monotonic()
            elif time.monotonic() - idle_since_s > _LINGER_S:
                self._reader = None  # the next subscriber opens a new one
                return
            try:
                batches = await reader.poll(wait_s=_POLL_S)
            except OffsetGone as gone:
                await self._restart(reader, gone)
                continue
            self._distribute(batches, reader.positions())
            if batches:
                await asyncio.sleep(_GATHER_S)

    def _distribute(self, batches: Mapping[int, RecordBatch], positions: Mapping[int, int]) -> None:
        if positions == self._next:
            return
        events = _events(self._topic, batches)
        self._next.update(positions)
        self._activity.count((event.type for event in events), now_s=time.monotonic())
        self._metrics.seen.inc(len(events))
        for subscriber in self._live:
            subscriber.offer(events, positions)
        self._recent.add(events)

    async def _restart(self, reader: TopicReader, gone: OffsetGone) -> None:
        beginnings = await reader.beginning_offsets()
        for partition, position in gone.positions.items():
            log.warning("offsets_gone", partition=partition, position=position, beginning=beginnings[partition])
            self._next[partition] = beginnings[partition]
            for subscriber in self._live:
                subscriber.skip_to(partition, beginnings[partition])
        self._recent.restart(self._next)
        reader.seek({partition: beginnings[partition] for partition in gone.positions})

    def _ends(self) -> dict[int, int]:
        return {} if self._reader is None else self._reader.ends_seen()

    def _top_types(self) -> dict[str, int]:
        return self._activity.top(now_s=time.monotonic())

    # The past ------------------------------------------------------------------------------------------------

    async def _set_start(self, subscriber: Subscriber, start: Start, reader: TopicReader) -> None:
        beginnings, ends = await reader.beginning_offsets(), await reader.end_offsets()
        # Some brokers (Tansu) report end offsets that are too low. The live reader has seen the real ones.
        ends = {partition: max(end, self._next.get(partition, 0)) for partition, end in ends.items()}
        at_time = await reader.offsets_at(start.number) if start.kind == "time" else {}
        subscriber.next = start_offsets(start, beginnings, ends, at_time)
        if start.kind == "last":
            subscriber.next = await last_starts(self._settings, self._topic, start.number, beginnings, ends)
        subscriber.missed = sum(max(0, beginnings[p] - at) for p, at in start.offsets.items() if p in beginnings)

    def _go_live(self, subscriber: Subscriber) -> None:
        subscriber.ends = self._ends
        subscriber.kafka_away = self._away
        self._live.add(subscriber)

    def _join(self, subscriber: Subscriber) -> bool:
        """Move a subscriber to the live end, without a gap or a repeat, if the recent events include its position.

        The method has no await, so no event arrives while it runs.
        """
        if self._reading is None or self._reading.done():
            return False  # the live reader has stopped
        between = self._recent.since(subscriber.next)
        if between is None or not subscriber.queue.fits(len(between), len(between) * _JOIN_BYTES):
            return False
        subscriber.offer(between, self._next)
        subscriber.caught_up()
        self._go_live(subscriber)
        return True

    async def _catch_up(self, subscriber: Subscriber) -> None:
        """Read the past as fast as the subscriber takes it, until it can join the live end."""
        backoff = Backoff(first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S)
        while True:
            try:
                async with TopicReader(self._settings, self._topic, max_poll_events=_PAST_POLL_EVENTS) as reader:
                    reader.seek(subscriber.next)
                    subscriber.ends = reader.ends_seen
                    subscriber.kafka_away = False
                    backoff.reset()
                    await self._read_past(subscriber, reader)
            except KafkaUnavailable as error:
                log.warning("kafka_unavailable", error=str(error), failures=backoff.failures)
                subscriber.kafka_away = True
            else:
                return
            await asyncio.sleep(backoff.next_s())

    async def _read_past(self, subscriber: Subscriber, reader: TopicReader) -> None:
        while not self._join(subscriber):
            await subscriber.wait_for_room()
            try:
                batches = await reader.poll(wait_s=_POLL_S)
            except OffsetGone as gone:
                beginnings = await reader.beginning_offsets()
                for partition in gone.positions:
                    subscriber.skip_to(partition, beginnings[partition])
                reader.seek({partition: beginnings[partition] for partition in gone.positions})
                continue
            subscriber.offer(_events(self._topic, batches), reader.positions())
            await asyncio.sleep(0)  # let the live reader and the other subscribers run


def _events(topic: str, batches: Mapping[int, RecordBatch]) -> Sequence[LiveEvent]:
    return in_order(
        [
            [
                LiveEvent(topic, partition, r.offset, r.timestamp, r.value or b"", error=_error(topic, r))
                for r in batch.records
            ]
            for partition, batch in batches.items()
        ]
    )


def _error(topic: str, record: Any) -> str:
    why = why_dead(record.headers) if topic == names.DEAD_LETTER_TOPIC else ""
    if record.value is None:
        return f"{why}, {NULL_VALUE}" if why else NULL_VALUE
    return why


def _fail_with(subscribers: Iterable[Subscriber], task: asyncio.Task[None]) -> None:
    """End the subscribers of a reader task that has failed."""
    if task.cancelled():
        return
    error = task.exception()
    if error is not None:
        log.error("reading_failed", exc_info=error)
        for subscriber in tuple(subscribers):
            subscriber.fail()
