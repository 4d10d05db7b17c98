"""CounterStore: the counters in Redis, and what is written to and read from them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.counters import scripts
from services.backbone.counters.positions import MAX_POSITION, Positions, parse_positions

CounterStoreError = RedisError
"""Raised by every method when Redis does not answer in time or answers with an error."""

OTHER_LABEL = "(other)"
"""What a label is counted as once a counter holds as many labels as it may: sums stay exact, memory stays bounded.
The mark that a label begins with, a letter in parentheses, is kept: `(c) 192.0.2.7` becomes `(c) (other)`."""


class Description(msgspec.Struct, frozen=True):
    """How a statistics consumer presents itself to kafidx."""

    name: str
    description: str
    column_title: str
    legend: dict[str, str] = {}
    """What the marks of labels, or the labels themselves, mean."""
    kind: Literal["counts", "histograms"] = "counts"
    """How to read the labels: each a row to show, or the buckets of `backbone.histogram`."""


class Update(NamedTuple):
    """What one batch of one partition adds to a counter."""

    partition: int
    first_offset: int
    """The position before the batch: where the previous one ended."""
    next_offset: int
    events: int
    last_received_ms: int
    counts: Mapping[str, int]
    invalid: int = 0
    """Records of the batch that are no events."""
    duplicates: int = 0
    """Records of the batch that are copies of events counted before, and add nothing."""
    ids: bytes = b""
    """The fingerprints of the ids of `events`, none twice, one after the other (`events.fingerprint`). Those of the
    events that have no id, which are always counted, are not there."""


class IdWindow(NamedTuple):
    """How long a counter remembers the ids that it has counted, at the least; at the most it is twice that.

    An id is remembered until it is `seconds` old by the Redis server's clock, or `ids` others have come after it,
    whichever is first. A generation holds as many as `ids`, or one batch if that is larger; there are two, and what is
    left of the one dropped last shrinks faster than a new one grows. So twice `ids` bounds what this costs.
    """

    seconds: float = 86_400.0
    ids: int = 1_000_000


class Outcome(NamedTuple):
    """What became of updates. Those of partitions that are named in neither field were applied."""

    refused: set[int]
    """Partitions whose update does not begin at the stored position."""
    duplicates: dict[int, list[int]]
    """Partitions whose update holds ids that are known, with the places of these ids among the update's."""


class Progress(NamedTuple):
    """How far a counter has come. At any moment, positions + given_up = events + invalid + missed + copies.

    In a partition that began at a later offset than 0, its first offset is to be taken from the positions.
    """

    events: int = 0
    last_received_ms: int = 0
    invalid: int = 0
    missed: int = 0
    """Offsets that the topic no longer held when they were to be counted."""
    duplicates: int = 0
    """Records dropped because the same event (`events.fingerprint`) was counted before."""
    given_up: int = 0
    """Offsets that positions were set back by: those of a topic that was deleted, or that has lost its end."""

    @property
    def passed(self) -> int:
        """Offsets that the positions have moved over, in this topic and in those before it."""
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


def connect(url: str, *, timeout_s: float, encoding_errors: Literal["strict", "replace"] = "strict") -> Redis:
    """Make the client of the counters. It connects at its first command.

    Each command takes `timeout_s` at most. One whose connection is closed is sent a second time, at once and on a new
    connection: after a restart of Redis all connections in the pool are closed. Every command of this module may be
    sent twice.
    """
    return Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors=encoding_errors,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


class CounterStore:
    """The counters of all statistics consumers in one Redis. `redis` must decode responses."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._apply_script = redis.register_script(scripts.APPLY)
        self._move_script = redis.register_script(scripts.MOVE)
        self._adopt_script = redis.register_script(scripts.ADOPT)

    async def describe(self, description: Description) -> None:
        """Register a counter, or change what it says of itself."""
        encoded = msgspec.json.encode(description).decode()
        await self._redis.hset(names.COUNTER_DESCRIPTIONS, description.name, encoded)

    async def descriptions(self) -> list[Description]:
        """Return what the counters say of themselves, by name."""
        stored = await self._redis.hgetall(names.COUNTER_DESCRIPTIONS)
        return [msgspec.json.decode(stored[name], type=Description) for name in sorted(stored)]

    async def positions(self, counter: str) -> dict[int, int]:
        """Return the next offset to count, by partition; partitions that were never begun are absent."""
        return (await self.read_positions(counter)).offsets

    async def read_positions(self, counter: str) -> Positions:
        """Return the positions, and what stands in their place where something else wrote to them."""
        stored: Any = await self._redis.hgetall(names.positions_key(counter))
        return parse_positions(stored)

    async def adopt_topic(self, counter: str, topic_id: str) -> int | None:
        """Give up all positions if they belong to another topic than this one, which was made anew.

        Returns the sum of the positions that were given up; None if they belong to this topic. The first topic that is
        named takes the positions that are there.
        """
        keys = (names.positions_key(counter), names.progress_key(counter))
        given_up = await self._adopt_script(keys=keys, args=(topic_id, MAX_POSITION))
        return None if given_up < 0 else int(given_up)

    async def begin(self, counter: str, partition: int, *, at: int) -> int:
        """Set where a partition begins unless another member has done so; returns where it begins."""
        key = names.positions_key(counter)
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.hsetnx(key, str(partition), str(at))
            transaction.hget(key, str(partition))
            _, stored = await transaction.execute()
        return int(stored)

    async def move_position(self, counter: str, partition: int, *, expected: int, to: int) -> bool:
        """Go on elsewhere without counting, for when the topic does not hold the position.

        Offsets that are passed over on the way forward are missed; on the way back they are given up. False, and
        nothing is changed, when the stored position is not the `expected` one: another member was here.
        """
        keys = (names.positions_key(counter), names.progress_key(counter))
        args = (partition, expected, to, max(0, to - expected), max(0, expected - to))
        return bool(await self._move_script(keys=keys, args=args))

    async def apply(
        self, counter: str, updates: Sequence[Update], *, max_labels: int, window: IdWindow = _DEFAULT_WINDOW
    ) -> Outcome:
        """Add what batches hold, each in one atomic step; all in one round trip.

        An update that does not begin at the stored position, or that holds an id which is known, also from an update
        before it, has no effect; the outcome says which. Trying again after an error is safe: what was applied is
        refused then. Needs Redis 6.2.
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
                place = (update.partition, update.first_offset, update.next_offset)
                sums = (update.events, update.invalid, update.duplicates, update.last_received_ms, update.ids)
                labels = (part for label_and_count in update.counts.items() for part in label_and_count)
                await self._apply_script(keys=keys, args=(*place, *bounds, *sums, *labels), client=pipeline)
            responses = await pipeline.execute()
        outcome = Outcome(set(), {})
        for update, response in zip(updates, responses, strict=True):
            if isinstance(response, list):
                outcome.duplicates[update.partition] = response
            elif not response:
                outcome.refused.add(update.partition)
        return outcome

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
