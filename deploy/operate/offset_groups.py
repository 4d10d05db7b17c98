"""Where each consumer group is in the topic of events, and how it is moved.

Statistics consumers have their positions in Redis beside their sums. A move changes the stored position, and the script
that counts rejects every batch that does not begin there. Action consumers commit to Kafka. A move is a request, which
the owner of the partition commits (backbone.action_moves). So no group has to stop for a move.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from deploy import catalog
from deploy.errors import OperatorError
from deploy.operate.actions_redis import connect_actions
from deploy.operate.endpoints import DOES_IT_RUN, Endpoints, without_password
from deploy.operate.offset_moves import OffsetMove, PartitionPosition
from services.backbone import names
from services.backbone.action_moves import RequestedMoves
from services.backbone.counters import CounterStore, position_error
from services.backbone.kafka import GroupState, KafkaUnavailable, OffsetGone, TopicReader, read_groups
from services.backbone.redis import connect
from services.backbone.settings import KafkaSettings

_REDIS_TIMEOUT_S: Final = 5.0
_READ_LIMIT_S: Final = 5.0
_TRIES: Final = 20
"""How often a moving position is compared and set. A consumer moves it a few times a second."""


class ConsumerGroup(NamedTuple):
    """A consumer and its group."""

    name: str
    container: str
    acts: bool
    """Whether it is an action consumer. Otherwise it is a statistics consumer."""


class GroupPositions(NamedTuple):
    """Where a group is in all partitions."""

    group: ConsumerGroup
    members: int
    partitions: tuple[PartitionPosition, ...]
    errors: tuple[str, ...] = ()
    """A sentence for each stored position that is invalid. The consumers do not process these partitions."""


def known_groups() -> dict[str, ConsumerGroup]:
    """Return the consumer groups of the platform by name. Other services read the topic without a group."""
    rows = [found for found in catalog.load().containers.values() if found.scales_by_lag]
    return {found.arguments[0]: ConsumerGroup(found.arguments[0], found.name, found.acts) for found in rows}


class GroupOffsets:
    """Reads and moves the groups. `open_offsets` opens it."""

    def __init__(self, reader: TopicReader, counters: CounterStore, moves: RequestedMoves, brokers: str) -> None:
        self.reader = reader
        self._counters = counters
        self._moves = moves
        self._brokers = brokers

    async def read(self, groups: Sequence[ConsumerGroup]) -> list[GroupPositions]:
        """Return the positions of groups."""
        begins = await self.reader.beginning_offsets()
        states = await read_groups(
            self._brokers,
            [names.consumer_group(group.name) for group in groups],
            topic=names.EVENTS_TOPIC,
            partitions=self.reader.partitions,
        )
        found = [(group, *await self._positions(group, states[names.consumer_group(group.name)])) for group in groups]
        # After the positions: a record that arrives meanwhile is lag.
        ends = await self.reader.end_offsets()
        return [
            GroupPositions(
                group,
                states[names.consumer_group(group.name)].members,
                tuple(
                    PartitionPosition(part, begins[part], ends[part], positions.get(part), requested.get(part))
                    for part in self.reader.partitions
                ),
                errors,
            )
            for group, positions, requested, errors in found
        ]

    async def _positions(
        self, group: ConsumerGroup, state: GroupState
    ) -> tuple[Mapping[int, int], Mapping[int, int], tuple[str, ...]]:
        """Return the positions and the requested offsets of a group, and the errors of its positions."""
        if group.acts:
            return state.committed, await self._moves.read(group.name), ()
        stored = await self._counters.read_positions(group.name)
        errors = (position_error(group.name, part, value) for part, value in sorted(stored.invalid.items()))
        return stored.offsets, {}, tuple(errors)

    async def record_times(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Return the time in ms since 1970 of the record at or after an offset, by partition.

        A partition is absent if it has no such record, or if the record can't be read within some seconds.
        """
        ends = await self.reader.end_offsets()
        wanted = {part: at for part, at in offsets.items() if at < ends[part]}
        self.reader.seek(ends | wanted)
        found: dict[int, int] = {}
        deadline = time.monotonic() + _READ_LIMIT_S
        while wanted.keys() - found.keys() and time.monotonic() < deadline:
            try:
                batches = await self.reader.poll(wait_s=0.2)
            except OffsetGone as gone:  # retention has removed the record, and the time is not known
                wanted = {part: at for part, at in wanted.items() if part not in gone.positions}
                self.reader.seek({part: ends[part] for part in gone.positions})
                continue
            for part, batch in batches.items():
                if batch.records:
                    found.setdefault(part, batch.records[0].timestamp)
        return {part: at for part, at in found.items() if part in wanted}

    async def remembered_ids(self, group: ConsumerGroup) -> int:
        """Return how many event ids a statistics consumer remembers."""
        return await self._counters.remembered_ids(group.name)

    async def move(self, group: ConsumerGroup, moves: Sequence[OffsetMove]) -> None:
        """Move a group. Raises OperatorError if a statistics consumer is faster than this command."""
        if group.acts:
            await self._moves.request(group.name, {move.partition: move.target for move in moves})
            return
        if self.reader.topic.id is not None:
            # Positions of a deleted topic would be discarded later, together with the new one.
            await self._counters.adopt_topic(group.name, self.reader.topic.id)
        for move in moves:
            await self._move_counter(group.name, move)

    async def _move_counter(self, counter: str, move: OffsetMove) -> None:
        for _ in range(_TRIES):
            stored = (await self._counters.positions(counter)).get(move.partition)
            if stored is None:
                stored = await self._counters.begin(counter, move.partition, at=move.target)
            if stored == move.target or (move.skipped and stored > move.target):
                return
            if await self._counters.move_position(counter, move.partition, expected=stored, to=move.target):
                return
        raise OperatorError(f"{counter}: the position of partition {move.partition} changes too often. Try again.")

    async def wait_until_applied(self, group: ConsumerGroup, partitions: Sequence[int], *, limit_s: float) -> set[int]:
        """Wait until consumers have applied the requests. Return the partitions of those that are left."""
        deadline = time.monotonic() + limit_s
        while True:
            left = (await self._moves.read(group.name)).keys() & set(partitions)
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def open_offsets(endpoints: Endpoints, settings: KafkaSettings) -> AsyncIterator[GroupOffsets]:
    """Connect to Kafka and to both Redis servers. Raises OperatorError for each failure inside the block too."""
    counters = connect(endpoints.counters_url, timeout_s=_REDIS_TIMEOUT_S, resend=True, text="strict")
    actions = connect_actions(endpoints)
    async with contextlib.aclosing(counters), contextlib.aclosing(actions):
        try:
            async with TopicReader(settings, names.EVENTS_TOPIC) as reader:
                yield GroupOffsets(reader, CounterStore(counters), RequestedMoves(actions), endpoints.bootstrap_servers)
        except KafkaUnavailable as error:
            shown = endpoints.bootstrap_servers
            raise OperatorError(f"Kafka at {shown} does not respond: {error}\n{DOES_IT_RUN}") from error
        except RedisError as error:
            clients = {endpoints.counters_url: counters, endpoints.actions_url: actions}
            away = [url for url, redis in clients.items() if not await _responds(redis)] or list(clients)
            shown = " and ".join(map(without_password, away))
            raise OperatorError(f"Redis at {shown} does not respond: {error}\n{DOES_IT_RUN}") from error


async def _responds(redis: Redis) -> bool:
    try:
        await redis.ping()
    except RedisError:
        return False
    return True
