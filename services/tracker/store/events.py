"""EventStore: stores events in Redis, many requests in one push, or on disk while Redis does not confirm.

Guarantee: when `store` returns, Redis has confirmed the entries, or the spool has synced them. This process or the next
one pushes the spool to Redis later. One push is in flight at a time. Events that arrive during this push share the next
push, so pushes grow with the load. There is no timer: a single event is pushed immediately.

Redis drops duplicates by producer id and sequence (EventQueue.push). A push that times out may still have reached
Redis, so it is spooled with its original producer id and sequence. Later direct pushes use a new producer id; otherwise
their higher sequence would make Redis drop the spooled push as a duplicate. Pushes that go directly to the spool get
the producer id of their segment.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence

from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from services.backbone.backoff import Backoff
from services.backbone.logs import get_logger
from services.backbone.queue import EventQueue, EvictionAllowed
from services.tracker.metrics import Metrics
from services.tracker.store.eviction import EvictionGuard
from services.tracker.store.failures import FailureLog, without_frames
from services.tracker.store.pending import NotStored, OnStored, Pending, PendingEvents
from services.tracker.store.spool import NotSpooled, Spool

log = get_logger(__name__)

# The pause after a failed replay doubles from the first value to the second. So the replay starts soon after Redis is
# up again, and attempts cost little while Redis is down.
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5
_CHECK_S = 1.0
# redis-py removes these codes from the text of an error, but keeps them in the error of a script.
_CODES = {
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
    BusyLoadingError: "LOADING",
    NoPermissionError: "NOPERM",
    AuthenticationError: "NOAUTH",
}


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
        """`max_pending_*` bound the events that wait for the push in flight. The caller owns `redis`.

        With a spool, a push is spooled when Redis does not confirm it within `spool_after_s`. Without a spool, the time
        limit of the Redis client applies.
        """
        self._redis = redis
        self._queue = EventQueue(redis)
        self._metrics = metrics
        self._spool_after_s = spool_after_s
        self._spool: Spool | None = None
        self._pending = PendingEvents(max_events=max_pending_events, max_bytes=max_pending_bytes)
        self._pushing: asyncio.Task[None] | None = None
        self._replaying: asyncio.Task[None] | None = None
        self._closing = False
        self._failures = FailureLog(log, works_again="redis_confirms_again")
        self._redis_error: Exception | None = None
        """The last Redis failure. While it is set, pushes go to the spool."""
        self._eviction = EvictionGuard(redis)
        self._begin_producer_id()
        metrics.pending.set_function(lambda: self._pending.events)

    async def open(self, open_spool: Callable[[], Spool] | None) -> None:
        """Open the spool, if there is one, and begin to replay it. Redis may be down.

        Raises SpoolUnusable and EvictionAllowed.
        """
        if open_spool is not None:
            self._spool = await asyncio.to_thread(open_spool)
        try:
            await self._eviction.ensure()
        except (RedisError, OSError) as error:
            self._log_failure_once(error)
            if self._spool is not None:
                self._redis_error = without_frames(error)
        self._begin_replaying()

    @property
    def spool(self) -> Spool | None:
        """The open spool, for searches."""
        return self._spool

    @property
    def redis_error(self) -> str:
        """Why pushes go to the spool. Empty while Redis confirms them."""
        return "" if self._redis_error is None else _text(self._redis_error)

    def submit(self, entries: Sequence[bytes], on_stored: OnStored) -> None:
        """Store entries in one atomic step, and call `on_stored` with the result.

        A callback, because a future takes a sixth of the time of a request. Raises NotStored at once when too many
        events are pending or the store is closed; then `on_stored` is not called.
        """
        if self._closing:
            raise self._refused(len(entries), "stopping")
        if not self._pending.add(entries, on_stored):
            raise self._refused(len(entries), "overloaded")
        if self._pushing is None:
            self._begin_pushing()

    async def store(self, entries: Sequence[bytes]) -> None:
        """Store entries in one atomic step; return when Redis or the spool has all of them. Raises NotStored."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_stored(refusal: NotStored | None) -> None:
            if stored.done():
                return  # the caller was cancelled
            if refusal is None:
                stored.set_result(None)
            else:
                stored.set_exception(refusal)

        self.submit(entries, on_stored)
        await stored

    async def aclose(self) -> None:
        """Refuse new events; return when all pending events are stored or refused. The spool keeps its events."""
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
        """Raise unless events can be stored: Redis accepts writes, or the spool has room for a full-size batch.

        Redis rejects writes when it is a replica, out of memory or out of disk. The check also fails when Redis may
        evict events, even if its policy changed after the start.
        """
        waiting = f"{self._pending.events} events waiting"
        spool = self._spool
        if spool is None:
            await self._recheck_eviction()
            await self._write_nothing()
            return waiting
        redis_error = self._redis_error
        if redis_error is None:
            try:
                async with asyncio.timeout(_CHECK_S):
                    await self._recheck_eviction()
                    await self._write_nothing()
            except (RedisError, OSError) as error:
                redis_error = error
            else:
                return f"{waiting}, {spool.entries} in the spool, {await spool.describe_room()}"
        if isinstance(redis_error, EvictionAllowed):
            raise EvictionAllowed(str(redis_error))  # a new error, since an error collects tracebacks at each raise
        await spool.check()
        room = await spool.describe_room()
        return f"Redis does not confirm ({_text(redis_error)}); {spool.entries} events in the spool, {room}"

    async def _recheck_eviction(self) -> None:
        """Raise EvictionAllowed when Redis may evict events. Until a later check passes, pushes go to the spool."""
        try:
            await self._eviction.recheck()
        except EvictionAllowed as error:
            self._eviction.reset()
            self._log_failure_once(error)
            if self._spool is not None:
                self._redis_error = without_frames(error)
                self._begin_replaying()
            raise

    async def _write_nothing(self) -> None:
        """Test whether Redis accepts writes, without a change of its data."""
        await self._eviction.ensure()
        await self._queue.check_writable()

    def _begin_pushing(self) -> None:
        self._pushing = asyncio.create_task(self._push_pending())
        # A callback, because a task that is cancelled before it starts runs no code of its own.
        self._pushing.add_done_callback(self._end_pushing)

    async def _push_pending(self) -> None:
        while self._pending:
            await self._push(self._pending.next_group())

    def _end_pushing(self, pushing: asyncio.Task[None]) -> None:
        self._pushing = None
        if pushing.cancelled():
            while self._pending:
                self._report(self._pending.next_group(), "redis")
        elif self._pending:  # added after the task's last check
            self._begin_pushing()

    async def _push(self, group: list[Pending]) -> None:
        entries = [entry for pending in group for entry in pending.entries]
        reason = "redis"  # also when this task is cancelled
        try:
            await self._put(entries)
            reason = ""
        except NotSpooled as error:
            reason = error.reason
        except Exception as error:  # noqa: BLE001 - any failure is reported to the callers, and the next push follows
            self._log_failure_once(error)
        finally:
            # Run the callbacks after the next push is sent. Then Redis executes it while the callbacks write responses.
            asyncio.get_running_loop().call_soon(self._report, group, reason)

    async def _put(self, entries: list[bytes]) -> None:
        """Store entries in Redis or the spool. Raises NotSpooled, or without a spool the error of the push."""
        if self._spool is None:
            await self._push_directly(entries)
            return
        producer_id, sequence = "", 0
        if self._redis_error is None:
            producer_id, sequence = self._producer_id, self._sequence + 1
            try:
                await self._push_directly(entries, timeout_s=self._spool_after_s)
            except Exception as error:  # noqa: BLE001 - after any failure the spool takes the push
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
            if not self._eviction.is_safe:
                async with asyncio.timeout(timeout_s):
                    await self._eviction.ensure()
            await self._queue.push(entries, producer_id=self._producer_id, sequence=self._sequence, timeout_s=timeout_s)
        except BaseException:  # also a cancellation
            self._metrics.push_failures.inc()
            self._eviction.reset()
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
        if not replaying.cancelled():  # the spool may have new events since the task's last check
            self._begin_replaying()

    def _is_replay_due(self, spool: Spool) -> bool:
        return not self._closing and (self._redis_error is not None or not spool.is_empty)

    async def _replay(self, spool: Spool) -> None:
        """Push the records of the spool in order, until it is empty and Redis accepts events."""
        backoff = Backoff(first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S)
        while self._is_replay_due(spool):
            try:
                await self._replay_some(spool)
                backoff.reset()
            except Exception as error:  # noqa: BLE001 - the replay is retried as long as the process runs
                self._metrics.push_failures.inc()
                self._eviction.reset()
                self._log_failure_once(error)
                if self._redis_error is not None:
                    self._redis_error = without_frames(error)
                await asyncio.sleep(backoff.next_s())

    async def _replay_some(self, spool: Spool) -> None:
        if self._redis_error is not None:
            # Test Redis before reading the spool. While Redis is down, reading would slow down requests.
            await self._write_nothing()
        async with spool.in_memory:
            records = await spool.read()
            if not records:
                self._mark_redis_up()
            try:
                for record in records:
                    push = record.push
                    await self._eviction.ensure()
                    await self._queue.push(push.entries, producer_id=push.producer_id, sequence=push.sequence)
                    spool.acknowledge(record)
                    self._metrics.replayed.inc(len(push.entries))
                    self._mark_redis_up()
            finally:
                await spool.save_position()

    def _mark_redis_up(self) -> None:
        self._redis_error = None
        self._failures.end()

    def _report(self, group: list[Pending], reason: str) -> None:
        """Call `on_stored` of each request: with None if `reason` is empty, else with NotStored."""
        if not reason:
            self._metrics.accepted.inc(sum(len(pending.entries) for pending in group))
        for pending in group:
            try:
                pending.on_stored(self._refused(len(pending.entries), reason) if reason else None)
            except Exception:
                log.exception("on_stored_failed")  # a bug; the other callers still get their result

    def _refused(self, events: int, reason: str) -> NotStored:
        self._metrics.refused.labels(reason).inc(events)
        return NotStored(reason)

    def _log_failure_once(self, error: Exception) -> None:
        """Log each cause of failure once until a push succeeds."""
        if isinstance(error, RedisError | OSError | EvictionAllowed):
            self._failures.begin("redis", "redis_does_not_confirm", cause=_cause(error), error=_text(error))
        else:
            self._failures.begin(type(error).__name__, "push_failed", level=logging.ERROR, exc_info=error)


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _cause(error: Exception) -> str:
    """Return the error code of Redis, such as READONLY; for other errors the class."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    code = str(error).partition(" ")[0]
    return code if isinstance(error, ResponseError) and code.isupper() else type(error).__name__
