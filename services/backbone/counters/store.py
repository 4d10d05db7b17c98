"""Counters in Redis: what the statistics consumers write and kafidx reads.

Exactness: the counts of a batch, the ids of its events and the partition's next offset are written in one script, and
only if the stored offset is the one that the batch begins at. So a kill between poll and write counts nothing, a repeat
is refused, and a member that lost its partition in a rebalance and does not know it yet can't count what its successor
has counted.

Copies: the same script refuses a batch that holds an id which the counter has counted already, in whatever partition
and by whatever member, and says which; the caller folds the batch again without the copies. The ids are kept as
fingerprints in two sets, a newer and an older generation (see IdWindow). No key ever expires by itself: counts,
positions and ids are lost together, and what Redis forgets, its last second or all, is counted again from there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.events import FINGERPRINT_BYTES

CounterStoreError = RedisError
"""Raised by every method when Redis does not answer in time or answers with an error."""

OTHER_LABEL = "(other)"
"""What a label is counted as once a counter holds as many labels as it may: sums stay exact, memory stays bounded.
The mark that a label begins with, a letter in parentheses, is kept: `(c) 192.0.2.7` becomes `(c) (other)`."""

_CHUNK = 1000  # ids a command inside the script: Lua's unpack has a limit, just below 8000

# Answers 0: refused; 1: applied; a table: the places, from 0, of the ids that are known, and nothing was applied.
# A generation is begun before it would pass the size, so that two of them hold at least that many ids at any time.
# What is dropped is removed in pieces, faster than ids are added: with libc's allocator, as the wheel's Redis has it,
# to free a million at once stops Redis for seconds, beside its loop (UNLINK) no less than in it.
_APPLY = """
local counts, positions, progress, new, old, dropped = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local partition, first, next = ARGV[1], ARGV[2], ARGV[3]
local max_labels, other, window_ms, window_ids = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local events, invalid, copies, last_ms, ids = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
if redis.call('HGET', positions, partition) ~= first then return 0 end
if #ids > 0 then
  local chunks, known, place = {}, {}, 0
  for begin = 1, #ids, %(chunk)d * %(width)d do
    local chunk = {}
    for at = begin, math.min(begin + %(chunk)d * %(width)d, #ids) - 1, %(width)d do
      chunk[#chunk + 1] = string.sub(ids, at, at + %(width)d - 1)
    end
    local in_new = redis.call('SMISMEMBER', new, unpack(chunk))
    local in_old = redis.call('SMISMEMBER', old, unpack(chunk))
    for i = 1, #chunk do
      if in_new[i] == 1 or in_old[i] == 1 then known[#known + 1] = place end
      place = place + 1
    end
    chunks[#chunks + 1] = chunk
  end
  if #known > 0 then return known end
  local time = redis.call('TIME')
  local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  local began_ms = tonumber(redis.call('HGET', progress, 'ids_began_ms') or 0)
  if now_ms - began_ms >= window_ms or redis.call('SCARD', new) + place > window_ids then
    redis.call('UNLINK', dropped)
    redis.call('HDEL', progress, 'ids_cursor')
    if redis.call('EXISTS', old) == 1 then redis.call('RENAME', old, dropped) end
    if redis.call('EXISTS', new) == 1 then redis.call('RENAME', new, old) end
    redis.call('HSET', progress, 'ids_began_ms', string.format('%%.0f', now_ms))
  end
  for _, chunk in ipairs(chunks) do redis.call('SADD', new, unpack(chunk)) end
  if redis.call('EXISTS', dropped) == 1 then
    local cursor = redis.call('HGET', progress, 'ids_cursor') or '0'
    local scanned = redis.call('SSCAN', dropped, cursor, 'COUNT', 2 * place + %(chunk)d)
    for begin = 1, #scanned[2], %(chunk)d do
      redis.call('SREM', dropped, unpack(scanned[2], begin, math.min(begin + %(chunk)d - 1, #scanned[2])))
    end
    redis.call('HSET', progress, 'ids_cursor', scanned[1])
    if scanned[1] == '0' then redis.call('UNLINK', dropped) end
  end
end
local room = max_labels - redis.call('ZCARD', counts)
for i = 13, #ARGV, 2 do
  local label = ARGV[i]
  if room <= 0 and not redis.call('ZSCORE', counts, label) then
    label = (string.match(label, '^%%(%%l%%) ') or '') .. other
  end
  if redis.call('ZINCRBY', counts, ARGV[i + 1], label) == ARGV[i + 1] then room = room - 1 end
end
redis.call('HSET', positions, partition, next)
redis.call('HINCRBY', progress, 'events', events)
redis.call('HINCRBY', progress, 'invalid', invalid)
redis.call('HINCRBY', progress, 'copies', copies)
if tonumber(last_ms) > tonumber(redis.call('HGET', progress, 'last_ms') or 0) then
  redis.call('HSET', progress, 'last_ms', last_ms)
end
return 1
""" % {"chunk": _CHUNK, "width": FINGERPRINT_BYTES}  # noqa: UP031 - Lua is full of braces

_MOVE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HINCRBY', KEYS[2], 'missed', ARGV[4])
return 1
"""


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
    copies: int = 0
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
    copies: dict[int, list[int]]
    """Partitions whose update holds ids that are known, with the places of these ids among the update's."""


class Progress(NamedTuple):
    """How far a counter has come. Its positions have moved over events + invalid + missed + copies offsets."""

    events: int = 0
    last_received_ms: int = 0
    invalid: int = 0
    missed: int = 0
    """Offsets that the topic no longer held when they were to be counted."""
    copies: int = 0
    """Records dropped because an event with their id was counted before."""

    @property
    def passed(self) -> int:
        """Offsets that the positions have moved over."""
        return self.events + self.invalid + self.missed + self.copies


PROGRESS_FIELDS: Final = ("events", "last_ms", "invalid", "missed", "copies")
"""The fields of the progress hash, in the order of Progress."""

_DEFAULT_WINDOW: Final = IdWindow()


class CounterStore:
    """The counters of all statistics consumers in one Redis. `redis` must decode responses."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._apply_script = redis.register_script(_APPLY)
        self._move_script = redis.register_script(_MOVE)

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
        stored = await self._redis.hgetall(names.positions_key(counter))
        return {int(partition): int(offset) for partition, offset in stored.items()}

    async def begin(self, counter: str, partition: int, *, at: int) -> int:
        """Set where a partition begins unless another member has done so; returns where it begins."""
        key = names.positions_key(counter)
        async with self._redis.pipeline(transaction=True) as transaction:
            transaction.hsetnx(key, str(partition), str(at))
            transaction.hget(key, str(partition))
            _, stored = await transaction.execute()
        return int(stored)

    async def move_position(self, counter: str, partition: int, *, expected: int, to: int, missed: int = 0) -> bool:
        """Go on elsewhere without counting, for when the topic does not hold the position: `missed` offsets are lost.

        False, and nothing is changed, when the stored position is not the `expected` one: another member was here.
        """
        keys = (names.positions_key(counter), names.progress_key(counter))
        return bool(await self._move_script(keys=keys, args=(partition, expected, to, missed)))

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
                sums = (update.events, update.invalid, update.copies, update.last_received_ms, update.ids)
                labels = (part for label_and_count in update.counts.items() for part in label_and_count)
                await self._apply_script(keys=keys, args=(*place, *bounds, *sums, *labels), client=pipeline)
            answers = await pipeline.execute()
        outcome = Outcome(set(), {})
        for update, answer in zip(updates, answers, strict=True):
            if isinstance(answer, list):
                outcome.copies[update.partition] = answer
            elif not answer:
                outcome.refused.add(update.partition)
        return outcome

    async def counts(self, counter: str) -> dict[str, int]:
        """Return all labels and counts, highest first, in one round trip."""
        pairs: Any = await self._redis.zrange(names.counts_key(counter), 0, -1, desc=True, withscores=True)
        return {label: int(count) for label, count in pairs}

    async def progress(self, counter: str) -> Progress:
        """Return how many events were counted and when the latest of them was received."""
        stored = await self._redis.hmget(names.progress_key(counter), *PROGRESS_FIELDS)
        return Progress(*(int(number or 0) for number in stored))
