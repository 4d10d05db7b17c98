"""Drain: moves batches from one Redis to Kafka. It prepares the next batch while it ships one."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from services.backbone import names
from services.backbone.dead_letters import encode_dead_letter
from services.backbone.health import Heartbeat
from services.backbone.kafka import EventProducer, KafkaUnavailable, Record
from services.backbone.logs import get_logger
from services.backbone.queue import EventQueue, QueueError
from services.kafkastore.core.entries import FailedEntry, dead_letter, id_of
from services.kafkastore.metrics import Metrics
from services.kafkastore.settings import Settings
from services.kafkastore.worker.attempt import Attempt, GiveUp, new_backoff
from services.kafkastore.worker.batch import ClaimedBatch, Prepared

log = get_logger(__name__)

_CLAIM_WAIT_S = 1.0  # longest wait for entries in Redis, and longest delay of a stop
_RECLAIM_EVERY_S = 5.0  # a third of the default lease, so that expired claims are found soon
_LOOP_LIMIT_S = 30.0  # above the longest normal iteration: one attempt to produce and the pause after it
_SLICE = 250  # entries prepared before yielding to the event loop, so that health checks get responses
_TRUNCATED_BYTES = 16_384  # length of a dead letter that was too large

PrepareEntry = Callable[[bytes, int, frozenset[bytes]], Record | FailedEntry | None]
"""Turns an entry into a record or a failed entry; None if its device is in the set of erased devices. The number is the
current time in ms since 1970. Never raises."""


class Drain:
    """Claims batches from one Redis and ships them, one at a time and in order.

    At most two batches are in memory: one on its way to Kafka and the next one. All other entries wait in Redis.
    """

    def __init__(  # noqa: PLR0913 - the collaborators of a drain; a class for all of them would hide them
        self,
        queue: EventQueue,
        producer: EventProducer,
        prepare_entry: PrepareEntry,
        settings: Settings,
        metrics: Metrics,
        *,
        label: str,
        approve_redis: Callable[[], Awaitable[None]],
    ) -> None:
        """Drain `queue` into `producer`. `label` is the name of the Redis in logs.

        `approve_redis` raises an error that ends the process if this Redis must not be used. It is called before the
        first claim, and after each outage, because Redis may come back with other settings.
        """
        self._queue = queue
        self._producer = producer
        self._prepare_entry = prepare_entry
        self._settings = settings
        self._metrics = metrics
        self._log = log.bind(redis=label)
        self._approve_redis = approve_redis
        self._approved = False
        self._erased: frozenset[bytes] = frozenset()
        self._reclaim_due_s = 0.0
        self._backoff = new_backoff()
        # Below the time limit of the client, which is a third of the lease.
        self._claim_wait_s = min(_CLAIM_WAIT_S, settings.lease_s / 6)
        self.heartbeat = Heartbeat(limit_s=_LOOP_LIMIT_S)

    async def run(self, stop: asyncio.Event) -> None:
        """Drain until `stop` is set, then finish the batches in memory. Give them back when this task is cancelled."""
        batch: ClaimedBatch | None = None
        while batch is not None or not stop.is_set():
            if batch is None:
                batch = await self._next(stop)
            else:
                batch = await self._ship_and_prepare(batch, stop)

    async def _ship_and_prepare(self, batch: ClaimedBatch, stop: asyncio.Event) -> ClaimedBatch | None:
        """Ship a batch. Return the next one if it was prepared meanwhile.

        The next batch is prepared only if this one is full, because then more entries wait. Otherwise a later claim
        contains more entries.
        """
        ahead: asyncio.Task[ClaimedBatch | None] | None = None
        if self._is_full(batch) and not stop.is_set() and not self._is_reclaim_due():
            ahead = asyncio.create_task(self._next(stop))
        shipped = False
        try:
            await self._ship(batch)
            shipped = True
            return None if ahead is None else await ahead
        except (GiveUp, asyncio.CancelledError) as reason:
            following = await _ended(ahead)
            # Both batches go back to the head of the list. Give back the newer one first, to keep their order.
            if following is not None:
                await following.give_back(reason)
            if not shipped:
                await batch.give_back(reason)
            if isinstance(reason, asyncio.CancelledError):
                raise
            return None
        except BaseException as bug:
            following = await _ended(ahead)
            if following is not None:
                await following.give_back(bug)
            batch.end()
            raise

    async def _next(self, stop: asyncio.Event) -> ClaimedBatch | None:
        """Claim and prepare a batch. Return None without entries, and after a pause if Redis is down."""
        self.heartbeat.beat()
        try:
            if not self._approved:
                await self._approve_redis()
                self._approved = True
            await self._reclaim_when_due()
            claim = await self._queue.claim(
                limit=self._settings.batch_events, max_bytes=self._settings.batch_bytes, wait_s=self._claim_wait_s
            )
        except QueueError as error:
            self._approved = False
            self._erased = frozenset()  # Redis may lose the last marks and then get the same number of other marks
            pause_s = self._backoff.next_s()
            failures = self._backoff.failures
            self._log.warning("redis_unavailable", error=f"{type(error).__name__}: {error}", failures=failures)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)
            return None
        self._backoff.reset()
        if claim is None:
            return None
        self._metrics.claimed.inc(len(claim.entries))
        self._metrics.batch_events.observe(len(claim.entries))
        batch = ClaimedBatch(self._queue, claim, Attempt(self._settings.hold_s, stop), lease_s=self._settings.lease_s)
        try:
            await self._read_erased(batch)
            batch.prepared = await self._prepare(claim.entries)
        except (GiveUp, asyncio.CancelledError) as reason:
            await batch.give_back(reason)
            if isinstance(reason, asyncio.CancelledError):
                raise
            return None
        return batch

    def _is_full(self, batch: ClaimedBatch) -> bool:
        entries = batch.entries
        return len(entries) >= self._settings.batch_events or sum(map(len, entries)) >= self._settings.batch_bytes

    def _is_reclaim_due(self) -> bool:
        return time.monotonic() >= self._reclaim_due_s

    async def _reclaim_when_due(self) -> None:
        """Reclaim the claims of dead instances.

        This happens only without a batch, so a drain never reclaims its own claim.
        """
        if not self._is_reclaim_due():
            return
        entries = await self._queue.reclaim()
        self._reclaim_due_s = time.monotonic() + _RECLAIM_EVERY_S
        if entries:
            self._metrics.reclaimed.inc(entries)
            self._log.warning("claims_taken_back", entries=entries)

    async def _ship(self, batch: ClaimedBatch) -> None:
        """Write a batch to Kafka and confirm its claim. Raises GiveUp."""
        records, origins, dead, erased = batch.prepared
        attempt = batch.attempt
        # Dead letters first: if their topic is missing, a retry must not write the events again.
        await self._write_dead_letters(dead, attempt)
        too_large = await self._write(names.EVENTS_TOPIC, records, attempt)
        oversized = [FailedEntry(origins[at], "produce", "record is too large for the topic") for at in too_large]
        await self._write_dead_letters(oversized, attempt)
        dead += oversized
        produced = len(records) - len(too_large)
        await self._confirm(batch, produced=produced, dead=dead, erased=erased)
        batch.end()

    async def _read_erased(self, batch: ClaimedBatch) -> None:
        """Refresh the set of erased devices if the claim reports a different size. Raises GiveUp.

        Comparing sizes is enough: the set only grows, and the claim script reads its size atomically.
        """
        while batch.claim.erased != len(self._erased):
            self.heartbeat.beat()
            try:
                self._erased = await self._queue.erased()
            except QueueError as error:
                self._log.warning("redis_unavailable", error=f"{type(error).__name__}: {error}")
                await batch.attempt.pause()
            else:
                return

    async def _prepare(self, entries: Sequence[bytes]) -> Prepared:
        """Enrich and encode entries. Separate failed entries, and count the entries of erased devices."""
        records: list[Record] = []
        origins: list[bytes] = []
        dead: list[FailedEntry] = []
        erased = 0
        with self._metrics.enrich_seconds.time():
            for begin in range(0, len(entries), _SLICE):
                now_ms = _now_ms()
                for entry in entries[begin : begin + _SLICE]:
                    prepared = self._prepare_entry(entry, now_ms, self._erased)
                    if isinstance(prepared, Record):
                        records.append(prepared)
                        origins.append(entry)
                    elif prepared is None:
                        erased += 1
                    else:
                        dead.append(prepared)
                await asyncio.sleep(0)
        return Prepared(records, origins, dead, erased)

    async def _write_dead_letters(self, dead: Sequence[FailedEntry], attempt: Attempt) -> None:
        """Write dead letters. Truncate a letter that is too large, and add its size to the reason."""
        if not dead:
            return
        ip_mode, now_ms = self._settings.ip_mode, _now_ms()
        dead_letters = [dead_letter(failed, ip_mode=ip_mode, time_ms=now_ms, attempt=attempt.number) for failed in dead]
        too_large = await self._write(names.DEAD_LETTER_TOPIC, list(map(encode_dead_letter, dead_letters)), attempt)
        if too_large:
            cut = [encode_dead_letter(dead_letters[at].truncate(_TRUNCATED_BYTES)) for at in too_large]
            if await self._write(names.DEAD_LETTER_TOPIC, cut, attempt):
                raise GiveUp(f"{names.DEAD_LETTER_TOPIC} rejects letters of {_TRUNCATED_BYTES} bytes")
        for letter in dead:
            self._log.warning(
                "entry_dead",
                id=id_of(letter.entry, self._settings.ip_mode),
                stage=letter.stage,
                reason=letter.reason,
                bytes=len(letter.entry),
            )

    async def _write(self, topic: str, records: Sequence[Record], attempt: Attempt) -> list[int]:
        """Write records until Kafka has acknowledged them. Return the records that are too large. Raises GiveUp."""
        if not records:
            return []
        while True:
            self.heartbeat.beat()
            try:
                with self._metrics.produce_seconds.time():
                    return await self._producer.produce(topic, records)
            except KafkaUnavailable as error:
                self._metrics.ship_failures.inc()
                self._log.warning("kafka_unavailable", attempt=attempt.number, error=str(error))
                await attempt.pause()

    async def _confirm(self, batch: ClaimedBatch, *, produced: int, dead: Sequence[FailedEntry], erased: int) -> None:
        claim = batch.claim
        unconfirmed = False
        while True:
            self.heartbeat.beat()
            try:
                held = await self._queue.confirm(claim, produced=produced, dead=len(dead), erased=erased)
                break
            except QueueError as error:
                # Kafka has the batch. Keep retrying: entries that are given back now would reach Kafka twice.
                unconfirmed = True
                self._log.warning("confirm_failed", claim=claim.key, error=f"{type(error).__name__}: {error}")
                await batch.attempt.pause()
        if not held and unconfirmed:
            self._log.warning("confirm_uncertain", claim=claim.key, entries=len(claim.entries))
        elif not held:
            self._metrics.lost_leases.inc()
            self._log.warning("lease_lost", claim=claim.key, entries=len(claim.entries))
        self._metrics.produced.inc(produced)
        self._metrics.erased.inc(erased)
        for letter in dead:
            self._metrics.dead.labels(stage=letter.stage).inc()


async def _ended(ahead: asyncio.Task[ClaimedBatch | None] | None) -> ClaimedBatch | None:
    """Cancel the preparation of a batch. Return the batch if it was already prepared."""
    if ahead is None:
        return None
    ahead.cancel()
    await asyncio.wait([ahead])
    return None if ahead.cancelled() or ahead.exception() is not None else ahead.result()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
