"""EventConsumer: reads a topic as one member of a group, from where its caller says."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from services.backbone.kafka.errors import KafkaUnavailable, OffsetGone, unavailable, within_time_limit
from services.backbone.kafka.identity import METADATA_AGE_S, Topic, read_topic
from services.backbone.kafka.topics import group_size, max_record_bytes
from services.backbone.settings import KafkaSettings

Position = int | None
"""Where to begin in a partition: an offset, or None for the first one that the topic still holds."""


class RecordBatch(NamedTuple):
    """Records of one partition, without a hole before or between them that the topic does not have itself."""

    first_offset: int
    """The position that was asked for: where the batch before this one ended."""
    next_offset: int
    records: list[ConsumerRecord[bytes, bytes]]


class EventConsumer:
    """One member of a consumer group, whose caller decides where each partition begins.

    What the group has committed is never used: every assignment, and every `reposition`, asks the caller again.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        topic: str,
        group: str,
        positions: Callable[[Sequence[int]], Awaitable[Mapping[int, Position]]],
        max_poll_events: int = 5000,
    ) -> None:
        """Join `group`; `poll` asks `positions` where to begin in partitions that came, and passes on what it raises.

        A partition that `positions` leaves out is asked for again at the next poll, and gives no records until then.
        Others go on. A changed number of partitions is noticed within METADATA_AGE_S.
        """
        self._bootstrap_servers = settings.bootstrap_servers
        self._group = group
        self._topic = topic
        self._max_poll_events = max_poll_events
        self._ask_positions = positions
        self._assignments = 0  # counts them, to tell whether one came during a question
        self._rebalancing = False  # the client tells the old assignment until it has the new one
        self._next: dict[int, int] = {}  # the offset that the next batch begins at, of each partition that has a place
        self._gaps: dict[int, int] = {}  # where records were missing, once; a second time they are really not there
        self._pending: asyncio.Task[dict[int, RecordBatch]] | None = None
        self._committing: asyncio.Task[None] | None = None
        self._client = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=group,
            enable_auto_commit=False,
            # Never skip or repeat in silence: OffsetGone tells the caller.
            auto_offset_reset="none",
            metadata_max_age_ms=int(METADATA_AGE_S * 1000),
            # The least that brokers allow by default: what a killed member held goes on after this time.
            session_timeout_ms=6000,
            heartbeat_interval_ms=2000,
            max_partition_fetch_bytes=4 * max_record_bytes(settings.max_event_bytes),
        )

    async def __aenter__(self) -> Self:
        """Connect, join, and wait for the first assignment. Raises KafkaUnavailable."""
        self._client.subscribe([self._topic], listener=_Listener(self._rebalance))
        try:
            await self._client.start()
        except (KafkaError, OSError) as error:
            await self._leave()
            raise unavailable(error) from error
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave the group, so that others take over at once."""
        await self._leave()

    async def poll(self, *, wait_s: float) -> dict[int, RecordBatch]:
        """Return the records that came, by partition, in order; empty after `wait_s` without any.

        Raises OffsetGone when a position is outside what the topic holds, KafkaUnavailable on other failures.
        """
        try:
            await self._place()
            return await self._fetched(wait_s)
        except NoOffsetForPartitionError as error:
            # The client looked for a committed offset before the partition was given its place.
            self.reset_position([error.args[0].partition])
            return {}
        except OffsetOutOfRangeError as error:
            found = {tp.partition: offset for tp, offset in error.args[0].items()}
            gone = {partition: offset for partition, offset in found.items() if self._next.get(partition) == offset}
            if gone:
                raise OffsetGone(gone) from error
            self.reset_position(found)  # it was a committed offset, as above
            return {}
        except (KafkaError, OSError) as error:
            raise unavailable(error) from error

    def reset_position(self, partitions: Iterable[int]) -> None:
        """Ask again, at the next poll, where these partitions go on; what was fetched of them is dropped."""
        for partition in partitions:
            self._next.pop(partition, None)
            self._gaps.pop(partition, None)

    def assigned(self) -> set[int]:
        """Return the partitions that this member has now: none from the begin of a rebalance to its end."""
        if self._rebalancing:
            return set()
        return {tp.partition for tp in self._client.assignment()}

    def positioned(self) -> set[int]:
        """Return the partitions that have been given their place since they came, or since `reposition`."""
        return set(self._next)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Tell the group the next offset of each partition. Raises KafkaUnavailable, also during a rebalance."""
        if not offsets:
            return
        if self._rebalancing:
            # It would reach the broker after this member has joined anew, as a commit of the generation before. The
            # client takes the refusal for a reason to join once more: if it leads the group, all members rebalance
            # again, during which it would commit again, and so on without end.
            raise KafkaUnavailable("the group is rebalancing")
        places = {TopicPartition(self._topic, part): at for part, at in offsets.items()}
        # A task that goes on when this one is cancelled or out of time: a commit that is cancelled leaves its request
        # behind in the client, and when that fails, as at the end of a membership, asyncio logs an error nobody saw.
        self._committing = asyncio.create_task(self._client.commit(places))
        self._committing.add_done_callback(lambda task: task.cancelled() or task.exception())
        async with within_time_limit():
            await asyncio.shield(self._committing)

    async def beginning_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset that the topic holds of each partition. Raises KafkaUnavailable."""
        async with within_time_limit():
            begins = await self._client.beginning_offsets([TopicPartition(self._topic, part) for part in partitions])
        return {tp.partition: offset for tp, offset in begins.items()}

    async def end_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the offset after the last record of each partition. Raises KafkaUnavailable."""
        async with within_time_limit():
            ends = await self._client.end_offsets([TopicPartition(self._topic, part) for part in partitions])
        return {tp.partition: offset for tp, offset in ends.items()}

    async def topic(self) -> Topic:
        """Return the topic's id and number of partitions. Raises KafkaUnavailable, also when there is no such topic."""
        async with within_time_limit():
            return await read_topic(self._client._client, self._topic)  # noqa: SLF001 - the client has no public way

    async def group_size(self) -> int:
        """Return the number of members of the group. Raises KafkaUnavailable."""
        return await group_size(self._bootstrap_servers, self._group)

    async def check(self) -> None:
        """Raise KafkaUnavailable unless the cluster answers and has the topic."""
        async with within_time_limit():
            topics = await self._client.topics()
        if self._topic not in topics:
            raise KafkaUnavailable(f"there is no topic {self._topic!r}")

    async def _leave(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
            await asyncio.gather(pending, return_exceptions=True)
        # Says goodbye to the group; with Kafka away that would be for nothing.
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(self._client.stop(), timeout=2.0)
        if self._committing is not None:
            self._committing.cancel()  # if it has not ended with the client
            await asyncio.gather(self._committing, return_exceptions=True)

    async def _place(self) -> None:
        """Seek, in each partition that has no place yet, to where the caller says it begins."""
        unplaced = sorted(self.assigned() - self._next.keys())
        if not unplaced:
            return
        asked_in = self._assignments
        wanted = await self._ask_positions(unplaced)
        unknown = [partition for partition, position in wanted.items() if position is None]
        begins = await self.beginning_offsets(unknown) if unknown else {}
        if self._assignments != asked_in:
            return  # what this member has now, it is asked for again
        for partition in unplaced:
            place = TopicPartition(self._topic, partition)
            if partition not in wanted:
                # Paused, at any position: without one the client looks for a committed offset and raises at each poll.
                self._client.pause(place)
                self._client.seek(place, 0)
                continue
            position = wanted[partition]
            offset = begins[partition] if position is None else position
            self._client.seek(place, offset)
            self._client.resume(place)
            self._next[partition] = offset

    def _rebalance(self, *, ended: bool) -> None:
        self._rebalancing = not ended
        self._assignments += 1
        self._next.clear()
        self._gaps.clear()

    async def _fetched(self, wait_s: float) -> dict[int, RecordBatch]:
        # The client waits out a rebalance whatever time limit it is given, and a fetch that is cancelled loses what it
        # has taken already. So the fetch is a task: one that is late is waited for again at the next poll.
        if self._pending is None:
            self._pending = asyncio.create_task(self._fetch(wait_s))
        done, _ = await asyncio.wait({self._pending}, timeout=wait_s)
        if not done:
            return {}
        pending, self._pending = self._pending, None
        return pending.result()

    async def _fetch(self, wait_s: float) -> dict[int, RecordBatch]:
        fetched = await self._client.getmany(timeout_ms=int(wait_s * 1000), max_records=self._max_poll_events)
        batches = {tp.partition: self._batch(tp.partition, records) for tp, records in fetched.items() if records}
        return {partition: batch for partition, batch in batches.items() if batch is not None}

    def _batch(self, partition: int, records: list[ConsumerRecord[bytes, bytes]]) -> RecordBatch | None:
        """Accept records that begin where the partition goes on; None, and a new place, for any others.

        After a rebalance the client may begin at what the group has committed, before it is told where to begin.
        """
        first, found = self._next.get(partition), records[0].offset
        if first is None:
            return None
        if found < first or (found > first and self._gaps.get(partition) != first):
            self.reset_position([partition])
            if found > first:
                self._gaps[partition] = first
            return None
        self._gaps.pop(partition, None)
        self._next[partition] = records[-1].offset + 1
        return RecordBatch(first, records[-1].offset + 1, records)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """Tells when a rebalance begins and when it has ended: places, and holes, of all partitions are asked for again."""

    def __init__(self, rebalance: Callable[..., None]) -> None:
        self._rebalance = rebalance

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - the client's signature
        self._rebalance(ended=False)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # noqa: ARG002 - the client's signature
        self._rebalance(ended=True)
