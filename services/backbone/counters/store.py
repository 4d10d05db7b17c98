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
memory stays bounded. The mark of a label, a letter in parentheses, stays: `(c) 192.0.2.7` becomes `(c) (other)`."""


class Description(msgspec.Struct, frozen=True):
    """The description of a statistics consumer that kafidx shows."""

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
    """Records of the batch whose event was counted before. They add nothing."""
    ids: bytes = b""
    """The concatenated fingerprints (`events.fingerprint`) of `events`, without repetition. Events without an id
    have no fingerprint and are always counted."""


class IdWindow(NamedTuple):
    """The minimum time and number for which a counter remembers counted ids. The maximum is twice that.

    An id is remembered until it is `seconds` old by the clock of the Redis server, or until `ids` further ids were
    counted, whichever is first. There are two generations, each with at most `ids` ids, or with one batch if that is
    larger. The rest of a dropped generation shrinks faster than a new one grows. So memory is bounded by twice `ids`.
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
    """The progress of a counter. At any moment, positions + given_up = events + invalid + missed + duplicates.

    If a partition began after offset 0, subtract its first offset from its position.
    """

    events: int = 0
    last_received_ms: int = 0
    invalid: int = 0
    missed: int = 0
    """Offsets that the topic had deleted before they were counted."""
    duplicates: int = 0
    """Records dropped because the same event (`events.fingerprint`) was counted before."""
    given_up: int = 0
    """Offsets by which positions were moved back, because a topic was deleted or has lost its end."""

    @property
    def passed(self) -> int:
        """Offsets that the positions have passed, in this topic and in earlier ones."""
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
        """Return the next offset to count, by partition. Partitions that never began are absent."""
        return (await self.read_positions(counter)).offsets

    async def read_positions(self, counter: str) -> Positions:
        """Return the positions, and values that are not positions because another program wrote them."""
        stored: Any = await self._redis.hgetall(names.positions_key(counter))
        return parse_positions(stored)

    async def adopt_topic(self, counter: str, topic_id: str) -> int | None:
        """Discard all positions if they belong to another topic, because the topic was created again.

        Return the sum of the discarded positions, or None if they belong to this topic. The first topic id that is
        passed adopts the existing positions.
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
        """Move a position without counting, if the topic does not contain it.

        Offsets skipped forward count as missed, offsets moved back as given up. Change nothing and return False if the
        stored position is not the `expected` one, because another member has moved it.
        """
        keys = (names.positions_key(counter), names.progress_key(counter))
        args = (partition, expected, to, max(0, to - expected), max(0, expected - to))
        return bool(await self._move_script(keys=keys, args=args))

    async def apply(
        self, counter: str, updates: Sequence[Update], *, max_labels: int, window: IdWindow = _DEFAULT_WINDOW
    ) -> ApplyResult:
        """Apply updates, each in one atomic step, all in one round trip.

        An update has no effect if it does not begin at the stored position, or if it contains a known id, also one of
        an earlier update of this call. The result lists these updates. A retry after an error is safe: updates that
        were applied are refused. Needs Redis 6.2.
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
        """Return all labels in slices of about `slice_labels`, one round trip each.

        ZSCAN returns every label that exists during the whole scan, and labels of a counter are never removed. Each
        count is the one at the time of its slice.
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
