"""EventConsumer: reads a topic as one member of a group, from positions that its caller provides."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from services.backbone.kafka.errors import KafkaUnavailable, OffsetGone, unavailable, within_time_limit
from services.backbone.kafka.groups import group_size
from services.backbone.kafka.identity import METADATA_AGE_S, Topic, read_topic
from services.backbone.kafka.isolation import ISOLATION_LEVEL
from services.backbone.kafka.topics import max_record_bytes
from services.backbone.settings import KafkaSettings

_CANCEL_LIMIT_S: Final = 0.5
_STOP_LIMIT_S: Final = 2.0
_NO_POLL_LIMIT_MS: Final = 7 * 86_400_000

Position = int | None
"""The first offset to read in a partition. None: the first offset that the topic still contains."""


class RecordBatch(NamedTuple):
    """Consecutive records of one partition. A gap before, between or after them is a gap in the topic.

    `EventConsumer` also returns batches without records: the gap from `first_offset` to `next_offset`.
    """

    first_offset: int
    """The position of this poll: the `next_offset` of the batch before."""
    next_offset: int
    records: list[ConsumerRecord[bytes, bytes]]


class EventConsumer:
    """One member of a consumer group. Its caller decides where each partition begins.

    It never uses committed offsets: it asks the caller after every assignment and after every `reset_position`.
    """

    def __init__(  # noqa: PLR0913 - what a group and a topic need
        self,
        settings: KafkaSettings,
        *,
        topic: str,
        group: str,
        positions: Callable[[Sequence[int]], Awaitable[Mapping[int, Position]]],
        max_poll_events: int = 5000,
        before_rebalance: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Join `group`. `poll` calls `positions` for newly assigned partitions and raises the errors of that call.

        `before_rebalance` is awaited when a rebalance begins, while this member may still commit. It must not raise.

        If `positions` omits a partition, the next poll asks again. Until then that partition returns no records, and
        the other partitions continue. A changed number of partitions is noticed within METADATA_AGE_S.
        """
        self._bootstrap_servers = settings.bootstrap_servers
        self._group = group
        self._topic = topic
        self._max_poll_events = max_poll_events
        self._ask_positions = positions
        self._before_rebalance = before_rebalance
        self._assignments = 0  # detects an assignment during a call of positions()
        self._rebalancing = False  # during a rebalance, the client still returns the old assignment
        self._next: dict[int, int] = {}  # first offset of the next batch, by positioned partition
        self._gaps: dict[int, int] = {}  # positions with a gap seen once; a second time, the gap is in the topic
        self._pending: asyncio.Task[dict[int, RecordBatch]] | None = None
        self._sought: set[int] = set()  # partitions whose position was set while a fetch was pending
        self._committing: asyncio.Task[None] | None = None
        self._client = AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers,
            group_id=group,
            enable_auto_commit=False,
            # Never skip or repeat silently: raise OffsetGone instead.
            auto_offset_reset="none",
            isolation_level=ISOLATION_LEVEL,
            metadata_max_age_ms=int(METADATA_AGE_S * 1000),
            # The minimum that brokers allow by default: after this time, others get the partitions of a killed member.
            session_timeout_ms=6000,
            heartbeat_interval_ms=2000,
            # A caller that hangs stops the heartbeats, which run in its event loop. A caller may poll rarely on
            # purpose, while it can't process more records. By default the client leaves the group after 5 minutes.
            max_poll_interval_ms=_NO_POLL_LIMIT_MS,
            max_partition_fetch_bytes=4 * max_record_bytes(settings.max_event_bytes),
        )

    async def __aenter__(self) -> Self:
        """Connect, join, and wait for the first assignment. Raises KafkaUnavailable."""
        listener = _Listener(self._begin_rebalance, lambda: self._rebalance(ended=True))
        self._client.subscribe([self._topic], listener=listener)
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
        """Leave the group, so that other members take over at once."""
        await self._leave()

    async def poll(self, *, wait_s: float) -> dict[int, RecordBatch]:
        """Return new records by partition, in order. Return an empty dict after `wait_s` without records.

        A batch without records moves the position past transaction markers or aborted records. Raises OffsetGone if the
        topic does not contain a position, KafkaUnavailable on other failures.
        """
        try:
            await self._seek_new()
            return await self._fetched(wait_s)
        except NoOffsetForPartitionError as error:
            # The client searched for a committed offset before this consumer set the position.
            self.reset_position([error.args[0].partition])
            return {}
        except OffsetOutOfRangeError as error:
            found = {tp.partition: offset for tp, offset in error.args[0].items()}
            gone = {partition: offset for partition, offset in found.items() if self._next.get(partition) == offset}
            if gone:
                raise OffsetGone(gone) from error
            self.reset_position(found)  # a committed offset, as above
            return {}
        except (KafkaError, OSError, UnicodeDecodeError) as error:
            raise unavailable(error) from error

    def reset_position(self, partitions: Iterable[int]) -> None:
        """Ask for the positions of these partitions again at the next poll. Drop their fetched records."""
        for partition in partitions:
            self._next.pop(partition, None)
            self._gaps.pop(partition, None)

    def seek(self, partition: int, offset: int) -> None:
        """Continue at this offset of an assigned partition, without a call of `positions`."""
        self._gaps.pop(partition, None)
        self._seek(partition, offset)

    def assigned(self) -> set[int]:
        """Return the partitions of this member. During a rebalance it has none."""
        if self._rebalancing:
            return set()
        return {tp.partition for tp in self._client.assignment()}

    def positioned(self) -> set[int]:
        """Return the partitions whose position is set, since their assignment or since `reset_position`."""
        return set(self._next)

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit the next offset of each partition. Raises KafkaUnavailable, also during a rebalance."""
        if not offsets:
            return
        if self._rebalancing:
            # The commit would reach the broker after this member has joined again, with the old generation. The broker
            # rejects it, and the client then joins once more. If this member leads the group, all members rebalance,
            # this member commits again, and so on without end.
            raise KafkaUnavailable("the group is rebalancing")
        committed = {TopicPartition(self._topic, part): at for part, at in offsets.items()}
        # The commit is a task that continues when this call is cancelled or times out. A cancelled commit would leave
        # its request in the client. When that request fails, for example after the member has left, asyncio logs an
        # unretrieved exception.
        self._committing = asyncio.create_task(self._client.commit(committed))
        self._committing.add_done_callback(lambda task: task.cancelled() or task.exception())
        async with within_time_limit():
            await asyncio.shield(self._committing)

    async def committed(self, partitions: Iterable[int]) -> dict[int, Position]:
        """Return the offset that the group has committed in each partition; None without one.

        Raises KafkaUnavailable.
        """
        async with within_time_limit():
            return {part: await self._client.committed(TopicPartition(self._topic, part)) for part in partitions}

    async def beginning_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset of each partition. Raises KafkaUnavailable."""
        async with within_time_limit():
            begins = await self._client.beginning_offsets([TopicPartition(self._topic, part) for part in partitions])
        return {tp.partition: offset for tp, offset in begins.items()}

    async def end_offsets(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the offset after the last record of each partition, or the first offset of an open transaction.

        Raises KafkaUnavailable.
        """
        async with within_time_limit():
            ends = await self._client.end_offsets([TopicPartition(self._topic, part) for part in partitions])
        return {tp.partition: offset for tp, offset in ends.items()}

    async def topic(self) -> Topic:
        """Return the topic's id and number of partitions. Raises KafkaUnavailable, also if there is no such topic."""
        async with within_time_limit():
            return await read_topic(self._client._client, self._topic)  # noqa: SLF001 - the client has no public access

    async def group_size(self) -> int:
        """Return the number of members of the group. Raises KafkaUnavailable."""
        return await group_size(self._bootstrap_servers, self._group)

    async def check(self) -> None:
        """Raise KafkaUnavailable unless the cluster responds and has the topic."""
        async with within_time_limit():
            topics = await self._client.topics()
        if self._topic not in topics:
            raise KafkaUnavailable(f"there is no topic {self._topic!r}")

    async def _leave(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
            await _ended(pending, limit_s=_CANCEL_LIMIT_S)
        # stop() leaves the group. While Kafka is down, waiting for it is useless.
        stopping = asyncio.create_task(self._client.stop())
        await _ended(stopping, limit_s=_STOP_LIMIT_S)
        stopping.cancel()
        if stopping.done():
            with contextlib.suppress(KafkaError, OSError, asyncio.CancelledError):
                stopping.result()
        if self._committing is not None:
            self._committing.cancel()  # in case it has not ended with the client
            await _ended(self._committing, limit_s=_CANCEL_LIMIT_S)

    async def _seek_new(self) -> None:
        """Seek each partition without a position to the position that the caller provides."""
        unpositioned = sorted(self.assigned() - self._next.keys())
        if not unpositioned:
            return
        asked_in = self._assignments
        wanted = await self._ask_positions(unpositioned)
        unknown = [partition for partition, position in wanted.items() if position is None]
        begins = await self.beginning_offsets(unknown) if unknown else {}
        if self._assignments != asked_in:
            return  # the assignment has changed: the next poll asks again
        for partition in unpositioned:
            tp = TopicPartition(self._topic, partition)
            if partition not in wanted:
                # Pause it at any position. Without a position the client searches for a committed offset and raises.
                self._client.pause(tp)
                self._client.seek(tp, 0)
                continue
            position = wanted[partition]
            offset = begins[partition] if position is None else position
            self._seek(partition, offset)  # a gap that was seen once stays known
            self._client.resume(tp)

    def _seek(self, partition: int, offset: int) -> None:
        self._client.seek(TopicPartition(self._topic, partition), offset)
        self._next[partition] = offset
        if self._pending is not None:
            self._sought.add(partition)

    async def _begin_rebalance(self) -> None:
        if self._before_rebalance is not None:
            await self._before_rebalance()
        self._rebalance(ended=False)

    def _rebalance(self, *, ended: bool) -> None:
        self._rebalancing = not ended
        self._assignments += 1
        self._next.clear()
        self._gaps.clear()

    async def _fetched(self, wait_s: float) -> dict[int, RecordBatch]:
        # During a rebalance the client ignores its time limit, and a cancelled fetch loses records that it has taken.
        # So the fetch is a task. The next poll continues to wait for a late one.
        if self._pending is None:
            self._pending = asyncio.create_task(self._fetch(wait_s))
        done, _ = await asyncio.wait({self._pending}, timeout=wait_s)
        if not done:
            return {}
        pending, self._pending = self._pending, None
        sought, self._sought = self._sought, set()
        batches = pending.result()
        # Records from before a reset or a rebalance: the caller continues at another position, or lost the partition.
        self.reset_position(sought & batches.keys())
        return {partition: batch for partition, batch in batches.items() if partition in self._next}

    async def _fetch(self, wait_s: float) -> dict[int, RecordBatch]:
        fetched = await self._client.getmany(timeout_ms=int(wait_s * 1000), max_records=self._max_poll_events)
        batches: dict[int, RecordBatch] = {}
        # No other task runs in this loop: each of these partitions has a position, which the client returns at once.
        for tp in self._client.assignment():
            if tp.partition in self._next:
                batch = self._batch(tp.partition, fetched.get(tp, []), await self._client.position(tp))
                if batch is not None:
                    batches[tp.partition] = batch
        return batches

    def _batch(self, partition: int, records: list[ConsumerRecord[bytes, bytes]], position: int) -> RecordBatch | None:
        """Accept records that begin at the position of the partition. For others, reset the position and return None.

        After a rebalance the client can begin at a committed offset, before this consumer sets the position. `position`
        is the client's position after the records: offsets without a record can follow the last one (isolation.py).
        """
        first = self._next.get(partition)
        if first is None:
            return None
        found = records[0].offset if records else position
        if not records and found == first:
            return None
        if found < first or (found > first and self._gaps.get(partition) != first):
            self.reset_position([partition])
            if found > first:
                self._gaps[partition] = first
            return None
        self._gaps.pop(partition, None)
        self._next[partition] = max(position, records[-1].offset + 1) if records else position
        return RecordBatch(first, self._next[partition], records)


async def _ended(task: asyncio.Task[Any], *, limit_s: float) -> None:
    """Wait for a task of the client, at most `limit_s`: the client can ignore a cancellation. Ignore its error."""
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved, or asyncio logs it
    await asyncio.wait({task}, timeout=limit_s)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the client has no types
    """Reports the beginning and the end of a rebalance. Both reset all positions and gaps."""

    def __init__(self, begin: Callable[[], Awaitable[None]], end: Callable[[], None]) -> None:
        self._begin = begin
        self._end = end

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:  # noqa: ARG002 - the client's signature
        await self._begin()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:  # noqa: ARG002 - the client's signature
        self._end()
