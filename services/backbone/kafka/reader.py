"""TopicReader: reads a topic without a group, from positions that its caller sets. It never commits."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from services.backbone.kafka.consumer import RecordBatch
from services.backbone.kafka.errors import (
    RESPONSE_LIMIT_S,
    KafkaUnavailable,
    OffsetGone,
    unavailable,
    within_time_limit,
)
from services.backbone.kafka.identity import METADATA_AGE_S, Topic, read_topic
from services.backbone.kafka.isolation import ISOLATION_LEVEL
from services.backbone.settings import KafkaSettings

_Response = TypeVar("_Response")

_FETCH_BYTES = 262_144
"""Bytes fetched ahead of each partition. Limits the memory of a reader. A larger record is fetched alone."""
_SILENCE_S = 5.0
"""After this time without a record, ask the brokers for end offsets: a client that has lost its brokers retries forever
without an error."""


class TopicReader:
    """Reads all partitions of a topic for one caller. Neither a group nor a broker stores its positions.

    Use it as an async context manager, then `seek` before the first `poll`. It reads the topic and the partitions that
    existed when it was opened. When they change, `poll` raises within METADATA_AGE_S, and a new reader is needed.
    """

    def __init__(self, settings: KafkaSettings, topic: str, *, max_poll_events: int = 2000) -> None:
        """Return at most `max_poll_events` records from one poll."""
        self._topic = topic
        self._max_poll_events = max_poll_events
        self._next: dict[int, int] = {}
        self._heard_s = 0.0
        self._checked_s = 0.0
        self.topic = Topic(None, 0)
        """The topic as it was when this reader was opened."""
        self._partitions: tuple[TopicPartition, ...] = ()
        self._client = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=None,
            enable_auto_commit=False,
            # Never skip or repeat silently: raise OffsetGone instead.
            auto_offset_reset="none",
            isolation_level=ISOLATION_LEVEL,
            metadata_max_age_ms=int(METADATA_AGE_S * 1000),
            max_partition_fetch_bytes=_FETCH_BYTES,
            fetch_max_bytes=4 * _FETCH_BYTES,
        )

    async def __aenter__(self) -> Self:
        """Connect and find the topic's partitions. Raises KafkaUnavailable, also when there is no such topic."""
        try:
            async with within_time_limit():
                await self._client.start()
                # The client has no public method to fetch the metadata of a topic before an assignment.
                await self._client._client.add_topic(self._topic)  # noqa: SLF001 - no public access
                self.topic = await read_topic(self._client._client, self._topic)  # noqa: SLF001 - no public access
        except BaseException:
            await self._close()
            raise
        found = sorted(self._client.partitions_for_topic(self._topic) or ())
        if not found:
            await self._close()
            raise KafkaUnavailable(f"there is no topic {self._topic!r}")
        self._partitions = tuple(TopicPartition(self._topic, partition) for partition in found)
        self._heard_s = self._checked_s = time.monotonic()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions of the topic, in order."""
        return tuple(tp.partition for tp in self._partitions)

    async def beginning_offsets(self) -> dict[int, int]:
        """Return the first offset of each partition. Raises KafkaUnavailable."""
        begins = await _responded(self._client.beginning_offsets(self._partitions))
        return {tp.partition: offset for tp, offset in sorted(begins.items())}

    async def end_offsets(self) -> dict[int, int]:
        """Return the offset after the last record of each partition, or the first offset of an open transaction.

        Raises KafkaUnavailable.
        """
        ends = await _responded(self._client.end_offsets(self._partitions))
        return {tp.partition: offset for tp, offset in sorted(ends.items())}

    async def offsets_at(self, time_ms: int) -> dict[int, int]:
        """Return the first offset by partition whose record is not older. Omit partitions without such a record."""
        found = await _responded(self._client.offsets_for_times(dict.fromkeys(self._partitions, time_ms)))
        return {tp.partition: at.offset for tp, at in sorted(found.items()) if at is not None}

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Continue each given partition at its offset, and drop its fetched records.

        The first call selects the partitions that are read.
        """
        wanted = {tp: offsets[tp.partition] for tp in self._partitions if tp.partition in offsets}
        if not self._next:
            self._client.assign(list(wanted))
        for partition, offset in wanted.items():
            self._client.seek(partition, offset)
            self._next[partition.partition] = offset

    def positions(self) -> dict[int, int]:
        """Return the offset from which the next poll reads, by partition. It is past offsets without a record."""
        return dict(self._next)

    def ends_seen(self) -> dict[int, int]:
        """Return the end offset of each partition from its latest fetch, without a request. See `end_offsets`."""
        seen = {
            tp.partition: self._client.last_stable_offset(tp) for tp in self._partitions if tp.partition in self._next
        }
        return {partition: end for partition, end in seen.items() if end is not None and end >= 0}

    async def poll(self, *, wait_s: float) -> dict[int, RecordBatch]:
        """Return new records by partition, in order. Return an empty dict after `wait_s` without records.

        An empty dict can also mean that `positions` moved past transaction markers or aborted records.

        Raises OffsetGone if the topic does not contain a position, KafkaUnavailable on other failures: also when
        brokers stop responding (noticed within ten seconds), and when the topic was deleted, created again or extended
        (noticed within METADATA_AGE_S).
        """
        try:
            await self._check_topic()
            fetched = await self._client.getmany(timeout_ms=int(wait_s * 1000), max_records=self._max_poll_events)
            positions = {
                tp.partition: await self._client.position(tp) for tp in self._partitions if tp.partition in self._next
            }
            if not fetched:
                await self._check_after_silence()
        except OffsetOutOfRangeError as error:
            raise OffsetGone({tp.partition: offset for tp, offset in error.args[0].items()}) from error
        except (KafkaError, OSError, UnicodeDecodeError) as error:
            raise unavailable(error) from error
        if fetched:
            self._heard_s = time.monotonic()
        batches: dict[int, RecordBatch] = {}
        for tp, records in fetched.items():
            first = self._next[tp.partition]
            wanted = records if not records or records[0].offset >= first else [r for r in records if r.offset >= first]
            if wanted:
                batches[tp.partition] = RecordBatch(first, max(first, positions[tp.partition]), wanted)
        for partition, position in positions.items():
            self._next[partition] = max(self._next[partition], position)
        return batches

    async def _check_topic(self) -> None:
        if time.monotonic() - self._checked_s < METADATA_AGE_S:
            return
        found = await _responded(read_topic(self._client._client, self._topic))  # noqa: SLF001 - no public access
        if found != self.topic:
            raise KafkaUnavailable(f"topic {self._topic!r} was created again or has other partitions")
        self._checked_s = time.monotonic()

    async def _check_after_silence(self) -> None:
        if time.monotonic() - self._heard_s > _SILENCE_S:
            await self.end_offsets()
            self._heard_s = time.monotonic()

    async def _close(self) -> None:
        with contextlib.suppress(KafkaUnavailable):
            await _responded(self._client.stop(), limit_s=2.0)


async def _responded(call: Coroutine[Any, Any, _Response], *, limit_s: float = RESPONSE_LIMIT_S) -> _Response:
    """Return the result of a call of the client. Raises KafkaUnavailable, also after the time limit.

    aiokafka ignores cancellation while it searches for a lost broker. So this function stops waiting at the time limit
    and lets the call end on its own.
    """
    running = asyncio.ensure_future(call)
    running.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved, or asyncio logs it
    try:
        await asyncio.wait({running}, timeout=limit_s)
        if not running.done():
            raise KafkaUnavailable(f"no response within {limit_s} s")
        if running.cancelled():
            # The client cancelled it when it ended its own tasks. Raised here, it would look like a cancellation of our
            # caller.
            raise KafkaUnavailable("the client cancelled the request")
        return running.result()
    except (KafkaError, OSError) as error:
        raise unavailable(error) from error
    finally:
        running.cancel()
