"""CounterStore: reads and writes the counters in Redis."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.counters import scripts
from services.backbone.counters.positions import MAX_POSITION, Positions, parse_positions

CounterStoreError = RedisError
"""Raised by every method when Redis does not respond in time or responds with an error."""

OTHER_LABEL = "(other)"
"""The label for all further labels after a counter has reached its maximum number of labels. So sums stay exact and
memory stays bounded. A label can begin with a mark, a letter in parentheses. The mark is kept: the label
`(c) 192.0.2.7` is counted as `(c) (other)`."""


class Description(msgspec.Struct, frozen=True):
    """The description of a statistics consumer. kafidx shows it."""

    name: str
    description: str
    column_title: str
    legend: dict[str, str] = {}
    """The meaning of marks and labels."""
    kind: Literal["counts", "histograms"] = "counts"
    """The kind of the labels: rows of a table, or buckets of `backbone.histogram`."""


class Update(NamedTuple):
    """The changes to a counter by one batch of one partition."""

    partition: int
    first_offset: int
    """The position before the batch, which is the `next_offset` of the batch before."""
    next_offset: int
    events: int
    last_received_ms: int
    counts: Mapping[str, int]
    invalid: int = 0
    """Records of the batch that are not events."""
    duplicates: int = 0
    """Records of the batch whose event was counted before. They do not change the counts."""
    ids: bytes = b""
    """The concatenated fingerprints (`events.fingerprint`) of the counted events, each fingerprint once. Events without
    an id have no fingerprint and are always counted."""


class IdWindow(NamedTuple):
    """The period for which a counter remembers the ids of counted events.

    A counter keeps its ids in two generations, the current one and the older one. A new generation begins when the
    current one is `seconds` old by the clock of the Redis server, or when it would exceed `ids` ids. The older one is
    then dropped. So the counter remembers an id for one to two generations.

    A generation exceeds `ids` only if a single batch does. Redis deletes the ids of a dropped generation in parts,
    faster than the new generation grows. So memory is bounded by twice `ids`.
    """

    seconds: float = 86_400.0
    ids: int = 1_000_000


class ApplyResult(NamedTuple):
    """The result of updates. An update was applied if its partition is in neither field."""

    refused: set[int]
    """Partitions whose update does not begin at the stored position."""
    duplicates: dict[int, list[int]]
    """Partitions whose update contains known ids, with the indexes of these ids in the update."""


class Progress(NamedTuple):
    """The progress of a counter.

    At any moment, the sum of all positions + given_up = events + invalid + missed + duplicates. If the first position
    of a partition was not 0, subtract it from the position of this partition.
    """

    events: int = 0
    last_received_ms: int = 0
    invalid: int = 0
    missed: int = 0
    """Offsets that Kafka had deleted before the consumer read them, or that an operator has skipped."""
    duplicates: int = 0
    """Records dropped because the same event (`events.fingerprint`) was counted before."""
    given_up: int = 0
    """Offsets by which positions were moved back: the topic was created again, its end offset decreased, or an operator
    repeats them."""

    @property
    def passed(self) -> int:
        """Offsets that the positions have passed, in this topic and in deleted topics of the same name."""
        return self.events + self.invalid + self.missed + self.duplicates


PROGRESS_FIELDS: Final = ("events", "last_ms", "invalid", "missed", "duplicates", "given_up")
"""The fields of the progress hash, in the order of Progress."""

_DEFAULT_WINDOW: Final = IdWindow()


class RankedCounts(NamedTuple):
    """A part of a counter's labels in the order of their counts."""

    counts: list[tuple[str, int]]
    labels: int
    """The number of labels of the whole counter."""
    highest: int
    """The highest count of the whole counter."""


class CounterStore:
    """The counters of all statistics consumers in one Redis. `redis` must decode responses."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._apply_script = redis.register_script(scripts.APPLY)
        self._move_script = redis.register_script(scripts.MOVE)
        self._adopt_script = redis.register_script(scripts.ADOPT)

    async def describe(self, description: Description) -> None:
        """Register a counter, or replace its description."""
        encoded = msgspec.json.encode(description).decode()
        await self._redis.hset(names.COUNTER_DESCRIPTIONS, description.name, encoded)

    async def descriptions(self) -> list[Description]:
        """Return the descriptions of all counters, ordered by name."""
        stored = await self._redis.hgetall(names.COUNTER_DESCRIPTIONS)
        return [msgspec.json.decode(stored[name], type=Description) for name in sorted(stored)]

    async def positions(self, counter: str) -> dict[int, int]:
        """Return the next offset to count, by partition. Partitions without a stored position are absent."""
        return (await self.read_positions(counter)).offsets

    async def read_positions(self, counter: str) -> Positions:
        """Return the positions, and the invalid values that another program wrote."""
        stored: Any = await self._redis.hgetall(names.positions_key(counter))
        return parse_positions(stored)

    async def adopt_topic(self, counter: str, topic_id: str) -> int | None:
        """Discard all positions if they belong to an earlier topic of the same name.

        Kafka gives a topic a new id when it is created again. Return the sum of the discarded positions, or None if the
        positions are kept. The first call for a counter keeps the positions and stores `topic_id`.
        """
        keys = (names.positions_key(counter), names.progress_key(counter))
        given_up = await self._adopt_script(keys=keys, args=(topic_id, MAX_POSITION))
        return None if given_up < 0 else int(given_up)

    async def begin(self, counter: str, partition: int, *, at: int) -> int:
        """Set the first position of a partition unless another member has set it. Return the stored position."""
        key = names.positions_key(counter)
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.hsetnx(key, str(partition), str(at))
            transaction.hget(key, str(partition))
            _, stored = await transaction.execute()
        return int(stored)

    async def move_position(self, counter: str, partition: int, *, expected: int, to: int) -> bool:
        """Move a position to another offset without a change of the counts.

        Use it when the topic does not contain the position, or for an operator. A move forward increases `missed` by
        the difference. A move back increases `given_up`. If the stored position is not `expected`, another member has
        moved it: change nothing and return False.
        """
        keys = (names.positions_key(counter), names.progress_key(counter))
        args = (partition, expected, to, max(0, to - expected), max(0, expected - to))
        return bool(await self._move_script(keys=keys, args=args))

    async def remembered_ids(self, counter: str) -> int:
        """Return the number of event ids that a counter remembers, at most (see IdWindow)."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.scard(names.new_ids_key(counter))
            pipeline.scard(names.old_ids_key(counter))
            return sum(await pipeline.execute())

    async def apply(
        self, counter: str, updates: Sequence[Update], *, max_labels: int, window: IdWindow = _DEFAULT_WINDOW
    ) -> ApplyResult:
        """Apply updates, each in one atomic step, all in one round trip.

        An update has no effect if it does not begin at the stored position, or if it contains a known id. The ids of
        earlier updates of the same call are known. The result lists the updates without effect. A retry after an error
        is safe: updates that were applied are refused. Requires Redis 6.2.
        """
        keys = (
            names.counts_key(counter),
            names.positions_key(counter),
            names.progress_key(counter),
            names.new_ids_key(counter),
            names.old_ids_key(counter),
            names.dropped_ids_key(counter),
        )
        bounds = (max_labels, OTHER_LABEL, int(window.seconds * 1000), window.ids)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for update in updates:
                offsets = (update.partition, update.first_offset, update.next_offset)
                sums = (update.events, update.invalid, update.duplicates, update.last_received_ms, update.ids)
                labels = (part for label_and_count in update.counts.items() for part in label_and_count)
                await self._apply_script(keys=keys, args=(*offsets, *bounds, *sums, *labels), client=pipeline)
            responses = await pipeline.execute()
        result = ApplyResult(set(), {})
        for update, response in zip(updates, responses, strict=True):
            if isinstance(response, list):
                result.duplicates[update.partition] = response
            elif not response:
                result.refused.add(update.partition)
        return result

    async def counts(self, counter: str) -> dict[str, int]:
        """Return all labels and counts, highest first, in one round trip."""
        pairs: Any = await self._redis.zrange(names.counts_key(counter), 0, -1, desc=True, withscores=True)
        return {label: int(count) for label, count in pairs}

    async def progress(self, counter: str) -> Progress:
        """Return how many events were counted and when the latest of them was received."""
        return _parse_progress(await self._redis.hmget(names.progress_key(counter), *PROGRESS_FIELDS))

    async def states(self, counters: Sequence[str]) -> list[tuple[Positions, Progress]]:
        """Return the positions and the progress of each of these counters, in one round trip."""
        if not counters:
            return []
        async with self._redis.pipeline(transaction=False) as pipeline:
            for counter in counters:
                pipeline.hgetall(names.positions_key(counter))
                pipeline.hmget(names.progress_key(counter), *PROGRESS_FIELDS)
            responses: list[Any] = await pipeline.execute()
        return [
            (parse_positions(positions), _parse_progress(progress))
            for positions, progress in zip(responses[::2], responses[1::2], strict=True)
        ]

    async def ranked_counts(self, counter: str, *, first: int, count: int, descending: bool) -> RankedCounts:
        """Return a part of the labels in the order of their counts, in one atomic round trip."""
        key = names.counts_key(counter)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.zcard(key)
            pipeline.zrange(key, 0, 0, desc=True, withscores=True)
            pipeline.zrange(key, first, first + count - 1, desc=descending, withscores=True)
            labels, highest, pairs = await pipeline.execute()
        counts = [(label, int(score)) for label, score in pairs]
        return RankedCounts(counts, labels, int(highest[0][1]) if highest else 0)

    async def scan_counts(self, counter: str, *, slice_labels: int) -> dict[str, int]:
        """Return all labels and counts. One round trip reads about `slice_labels` labels.

        The result is complete: ZSCAN returns every label that exists during the whole scan, and labels of a counter are
        never removed. Each count is the value at the time of its round trip.
        """
        counts: dict[str, int] = {}
        cursor = -1
        while cursor:
            pairs: Any
            cursor, pairs = await self._redis.zscan(names.counts_key(counter), max(cursor, 0), count=slice_labels)
            counts.update((label, int(count)) for label, count in pairs)
        return counts


def _parse_progress(stored: Sequence[str | bytes | None]) -> Progress:
    return Progress(*(int(number or 0) for number in stored))
