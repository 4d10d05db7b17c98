"""EventStore: stores events in Redis, many requests in one push, and on disk while Redis does not confirm.

Promise: when `store` returns, Redis has confirmed the entries, or they are synced in the spool and will be pushed, also
by the next process. One push is in flight at a time; what arrives meanwhile rides on the next one, so the busier the
tracker, the larger the pushes. There is no timer: a lone request is pushed at once.

Copies are prevented by numbers (EventQueue.push). A push that was not confirmed may have happened all the same; it is
spooled under the sequence that it was sent with, as the last of its pusher: from then on direct pushes go under another
name, or theirs would make the spooled one look done. Pushes that go straight to the spool get numbers of its own.
"""

import asyncio
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.logs import get_logger
from services.backbone.queue import EventQueue, EvictionAllowed, refuse_eviction
from services.tracker.metrics import Metrics
from services.tracker.store.failures import FailureLog, without_frames
from services.tracker.store.spool import NotSpooled, Spool

log = get_logger(__name__)

# One push is one transaction, and Redis serves nobody else meanwhile: some ten milliseconds of its time.
_MAX_PUSH_EVENTS = 10_000
_MAX_PUSH_BYTES = 8_388_608
# How long to wait after a replay that failed: doubled each time, so that a Redis that comes back is soon seen and one
# that is gone costs nothing.
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5
_CHECK_S = 1.0
# Readiness asks Redis for its eviction policy again after this time, however often readiness is asked.
_POLICY_KNOWN_S = 1.0


class NotStored(Exception):
    """The events were not confirmed. They may be stored all the same: send them again with their ids."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """overloaded, stopping, redis, spool_full or spool_failed: the label of those counted as refused."""


OnStored = Callable[[NotStored | None], None]
"""Told once what became of entries: None when they are stored. Must not raise."""


class _Waiting(NamedTuple):
    entries: Sequence[bytes]
    size: int
    on_stored: OnStored


class EventStore:
    """Stores events in one Redis."""

    def __init__(
        self,
        redis: Redis,
        metrics: Metrics,
        *,
        max_pending_events: int,
        max_pending_bytes: int,
        spool_after_s: float = 0.1,
    ) -> None:
        """`max_pending_*` bound what waits for the push in flight. The caller opens and closes `redis`.

        With a spool, Redis has `spool_after_s` to confirm a push; without, as long as its client waits.
        """
        self._redis = redis
        self._queue = EventQueue(redis)
        self._metrics = metrics
        self._max_pending_events = max_pending_events
        self._max_pending_bytes = max_pending_bytes
        self._spool_after_s = spool_after_s
        self._spool: Spool | None = None
        self._pending: deque[_Waiting] = deque()
        self._pending_events = 0
        self._pending_bytes = 0
        self._pushing: asyncio.Task[None] | None = None
        self._replaying: asyncio.Task[None] | None = None
        self._closing = False
        self._failures = FailureLog(log, works_again="redis_confirms_again")
        self._redis_error: Exception | None = None
        """The last Redis failure. While it is set, pushes go to the spool."""
        self._evicts_nothing = False
        self._policy_asked_s = 0.0
        self._begin_producer_id()
        metrics.pending.set_function(lambda: self._pending_events)

    async def open(self, open_spool: Callable[[], Spool] | None) -> None:
        """Open the spool, if there is to be one, and begin to replay what it holds. A Redis that is away may be so.

        Raises SpoolUnusable, and EvictionAllowed.
        """
        if open_spool is not None:
            self._spool = await asyncio.to_thread(open_spool)
        try:
            await self._make_sure_nothing_is_evicted()
        except (RedisError, OSError) as error:
            self._log_failure_once(error)
            if self._spool is not None:
                self._redis_error = without_frames(error)
        self._begin_replaying()

    def submit(self, entries: Sequence[bytes], on_stored: OnStored) -> None:
        """Have entries stored in one atomic step; `settle` is told when Redis or the spool has them, or has not.

        A function and not a future, which would cost a sixth of the time that a request takes.
        Raises NotStored at once when they can't even wait; then nothing is told.
        """
        size = sum(map(len, entries))
        if self._closing:
            raise self._refused(len(entries), "stopping")
        # Whatever fits into one request may always wait alone, or a large batch could never be stored.
        if self._pending and (
            self._pending_events + len(entries) > self._max_pending_events
            or self._pending_bytes + size > self._max_pending_bytes
        ):
            raise self._refused(len(entries), "overloaded")
        self._pending.append(_Waiting(entries, size, on_stored))
        self._count_pending(len(entries), size)
        if self._pushing is None:
            self._begin_pushing()

    async def store(self, entries: Sequence[bytes]) -> None:
        """Return once Redis or the spool has all entries, in one atomic step. Raises NotStored."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_stored(refusal: NotStored | None) -> None:
            if stored.done():
                return  # whoever waited was cancelled
            if refusal is None:
                stored.set_result(None)
            else:
                stored.set_exception(refusal)

        self.submit(entries, on_stored)
        await stored

    async def aclose(self) -> None:
        """Refuse what comes from now on; return when all that waits is stored or refused. The spool stays as it is."""
        self._closing = True
        while self._pushing is not None:
            await asyncio.wait([self._pushing])
        if self._replaying is not None:
            self._replaying.cancel()
            await asyncio.wait([self._replaying])
        if self._spool is not None:
            spool, self._spool = self._spool, None
            await spool.aclose()
        self._failures.close()

    async def check(self) -> str:
        """Raise unless events can be stored: Redis takes writes, or the spool has room for a full-size batch.

        A Redis that is a replica, out of memory or out of disk takes none. One that may evict events is refused, also
        when its policy has changed since the start.
        """
        waiting = f"{self._pending_events} events waiting"
        spool = self._spool
        if spool is None:
            await self._ask_again_for_policy()
            await self._write_nothing()
            return waiting
        redis_error = self._redis_error
        if redis_error is None:
            try:
                async with asyncio.timeout(_CHECK_S):
                    await self._ask_again_for_policy()
                    await self._write_nothing()
            except (RedisError, OSError) as error:
                redis_error = error
            else:
                return f"{waiting}, {spool.entries} in the spool, {await spool.describe_room()}"
        if isinstance(redis_error, EvictionAllowed):
            raise EvictionAllowed(str(redis_error))  # one that is raised again and again collects tracebacks
        await spool.check()
        room = await spool.describe_room()
        return f"Redis does not confirm ({_text(redis_error)}); {spool.entries} events in the spool, {room}"

    async def _ask_again_for_policy(self) -> None:
        """Raise EvictionAllowed when Redis may evict events by now; then pushes do not go there until it may not."""
        now_s = time.monotonic()
        if now_s - self._policy_asked_s < _POLICY_KNOWN_S:
            return
        try:
            await refuse_eviction(self._redis)
        except EvictionAllowed as error:
            self._evicts_nothing = False
            self._log_failure_once(error)
            if self._spool is not None:
                self._redis_error = without_frames(error)
                self._begin_replaying()
            raise
        self._policy_asked_s = now_s

    async def _write_nothing(self) -> None:
        await self._make_sure_nothing_is_evicted()
        await self._redis.hincrby(names.LEDGER, "accepted", 0)

    async def _make_sure_nothing_is_evicted(self) -> None:
        """Ask a Redis once, and again after it was away: it may be another one. Readiness asks again, too."""
        if not self._evicts_nothing:
            await refuse_eviction(self._redis)
            self._evicts_nothing = True

    def _begin_pushing(self) -> None:
        self._pushing = asyncio.create_task(self._push_pending())
        # A callback, since a task that is cancelled before it begins runs no line of its own.
        self._pushing.add_done_callback(self._end_pushing)

    async def _push_pending(self) -> None:
        while self._pending:
            await self._push(self._next_group())

    def _end_pushing(self, pushing: asyncio.Task[None]) -> None:
        self._pushing = None
        if pushing.cancelled():
            while self._pending:
                self._on_stored(self._next_group(), "redis")
        elif self._pending:  # it came after the task's last look
            self._begin_pushing()

    def _next_group(self) -> list[_Waiting]:
        """Take what waits, up to the size of one push and at least one request's."""
        group: list[_Waiting] = []
        events = size = 0
        while self._pending:
            waiting = self._pending[0]
            events += len(waiting.entries)
            size += waiting.size
            if group and (events > _MAX_PUSH_EVENTS or size > _MAX_PUSH_BYTES):
                break
            group.append(self._pending.popleft())
            self._count_pending(-len(waiting.entries), -waiting.size)
        return group

    async def _push(self, group: list[_Waiting]) -> None:
        entries = [entry for waiting in group for entry in waiting.entries]
        reason = "redis"  # also when this task is cancelled
        try:
            await self._put(entries)
            reason = ""
        except NotSpooled as error:
            reason = error.reason
        except Exception as error:  # noqa: BLE001 - whatever it was, those who wait are told and the next push is tried
            self._log_failure_once(error)
        finally:
            # Not at once: first the next push is sent, so that Redis works on it while these are answered.
            asyncio.get_running_loop().call_soon(self._on_stored, group, reason)

    async def _put(self, entries: list[bytes]) -> None:
        """Return once Redis or the spool has the entries. Raises what Redis raised without a spool, else NotSpooled."""
        if self._spool is None:
            await self._push_directly(entries)
            return
        producer_id, sequence = "", 0
        if self._redis_error is None:
            producer_id, sequence = self._producer_id, self._sequence + 1
            try:
                await self._push_directly(entries, timeout_s=self._spool_after_s)
            except Exception as error:  # noqa: BLE001 - whatever it was, the spool has its own way to Redis
                self._log_failure_once(error)
                self._redis_error = without_frames(error)
                self._begin_producer_id()
            else:
                return
        try:
            await self._spool.append(entries, producer_id=producer_id, sequence=sequence)
        finally:
            self._begin_replaying()
        self._metrics.spooled.inc(len(entries))

    async def _push_directly(self, entries: list[bytes], *, timeout_s: float | None = None) -> None:
        self._sequence += 1
        begin = time.perf_counter()
        try:
            if not self._evicts_nothing:
                async with asyncio.timeout(timeout_s):
                    await self._make_sure_nothing_is_evicted()
            await self._queue.push(entries, producer_id=self._producer_id, number=self._sequence, timeout_s=timeout_s)
        except BaseException:  # a cancellation as well
            self._metrics.push_failures.inc()
            self._evicts_nothing = False
            raise
        self._failures.end()
        self._metrics.push_seconds.observe(time.perf_counter() - begin)
        self._metrics.push_events.observe(len(entries))

    def _begin_producer_id(self) -> None:
        self._producer_id = uuid.uuid4().hex
        self._sequence = 0

    def _begin_replaying(self) -> None:
        if self._spool is not None and self._replaying is None and self._is_replay_due(self._spool):
            self._replaying = asyncio.create_task(self._replay(self._spool))
            self._replaying.add_done_callback(self._end_replaying)

    def _end_replaying(self, replaying: asyncio.Task[None]) -> None:
        self._replaying = None
        if not replaying.cancelled():  # something may have come after the task's last look
            self._begin_replaying()

    def _is_replay_due(self, spool: Spool) -> bool:
        return not self._closing and (self._redis_error is not None or not spool.is_empty)

    async def _replay(self, spool: Spool) -> None:
        """SpooledPush what the spool holds, one record after the other, until nothing is left and Redis takes events."""
        pause_s = _FIRST_PAUSE_S
        while self._is_replay_due(spool):
            try:
                await self._replay_some(spool)
                pause_s = _FIRST_PAUSE_S
            except Exception as error:  # noqa: BLE001 - it is tried again for as long as this process lives
                self._metrics.push_failures.inc()
                self._evicts_nothing = False
                self._log_failure_once(error)
                if self._redis_error is not None:
                    self._redis_error = without_frames(error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _replay_some(self, spool: Spool) -> None:
        if self._redis_error is not None:
            # Asked before anything is read, so that a Redis that is away costs the requests no time of this process.
            await self._write_nothing()
        records = await spool.read()
        if not records:
            self._mark_redis_up()
        try:
            for record in records:
                push = record.push
                await self._make_sure_nothing_is_evicted()
                await self._queue.push(push.entries, producer_id=push.producer_id, number=push.sequence)
                spool.acknowledge(record)
                self._metrics.replayed.inc(len(push.entries))
                self._mark_redis_up()
        finally:
            await spool.save_position()

    def _mark_redis_up(self) -> None:
        self._redis_error = None
        self._failures.end()

    def _on_stored(self, group: list[_Waiting], reason: str) -> None:
        """Tell those who wait that their entries are stored, or, with a reason, that they are not."""
        if not reason:
            self._metrics.accepted.inc(sum(len(waiting.entries) for waiting in group))
        for waiting in group:
            try:
                waiting.on_stored(self._refused(len(waiting.entries), reason) if reason else None)
            except Exception:
                log.exception("settle_failed")  # a bug, which must not keep the others waiting

    def _count_pending(self, events: int, size: int) -> None:
        self._pending_events += events
        self._pending_bytes += size

    def _refused(self, events: int, reason: str) -> NotStored:
        self._metrics.refused.labels(reason).inc(events)
        return NotStored(reason)

    def _log_failure_once(self, error: Exception) -> None:
        """Log each kind of failure once until a push succeeds, not once a push."""
        if isinstance(error, RedisError | OSError | EvictionAllowed):
            self._failures.begin("redis", "redis_does_not_confirm", error=_text(error))
        else:
            self._failures.begin(type(error).__name__, "push_failed", level=logging.ERROR, exc_info=error)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
