"""The process of one statistics consumer: poll, fold, write counts and positions in one step, again.

Where each partition goes on, and which ids were counted, stands in Redis beside the counts, nowhere else: this process
keeps nothing that a kill could lose or a rebalance could make wrong. So each record of the topic is looked at exactly
once, and of records with the same id one is counted.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.backbone import names
from services.backbone.counters import CounterStore, CounterStoreError, IdWindow, Update
from services.backbone.health import Health, Heartbeat, create_internal_app
from services.backbone.kafka import Batch, EventConsumer, KafkaUnavailable, OffsetGone
from services.backbone.logs import get_logger
from services.backbone.metrics import ConsumerMetrics
from services.backbone.process import http_server
from services.consumers.core import fold, ids_at
from services.consumers.handlers import Handler
from services.consumers.settings import Settings

log = get_logger(__name__)

_REDIS_ANSWER_S = 5.0
_HEARTBEAT_LIMIT_S = 30.0  # the longest honest turn: a poll, a rebalance that waits for a dead member, Redis' limit
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


async def run(handler: Handler, settings: Settings, stop: asyncio.Event) -> None:
    """Count until `stop` is set.

    The internal port opens first, so that it can be asked why the process is not ready while Redis or Kafka is away;
    then Redis, then the group is joined. Stopping goes the other way: the group is left first, so that others take over
    at once. A batch that is being written then is either counted whole or not at all, and then by whoever takes over.
    """
    registry = CollectorRegistry()
    redis = Redis.from_url(
        settings.counters_redis_url.get_secret_value(),
        decode_responses=True,
        socket_timeout=_REDIS_ANSWER_S,
        socket_connect_timeout=_REDIS_ANSWER_S,
    )
    consumer = StatisticsConsumer(handler, settings, CounterStore(redis), ConsumerMetrics(registry))

    async def check_redis() -> str:
        await redis.ping()
        return ""

    health = Health({"loop": consumer.heartbeat.check, "redis": check_redis, "kafka": consumer.check_kafka})
    app = create_internal_app(health, registry)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(redis.aclose)
        await stack.enter_async_context(http_server(app, host=settings.internal_host, port=settings.internal_port))
        counting = asyncio.create_task(consumer.count_forever())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({counting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        health.stopping = True
        stopping.cancel()
        consumer.stopping = True
        counting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await counting  # raises what ended it, if that was not this stop


class StatisticsConsumer:
    """Counts the events of the partitions that its group gives it.

    Redis or Kafka away: it waits, not ready, and tries again with growing pauses, for `give_up_s` at most.
    """

    def __init__(self, handler: Handler, settings: Settings, store: CounterStore, metrics: ConsumerMetrics) -> None:
        self.heartbeat = Heartbeat(limit_s=_HEARTBEAT_LIMIT_S)
        self.stopping = False
        """Ends the loops. Set it before cancelling: asyncio and the Kafka client can swallow a cancellation."""
        self._handler = handler
        self._name = handler.description.name
        self._settings = settings
        self._store = store
        self._metrics = metrics
        metrics.begin(self._name)
        self._window = IdWindow(settings.id_window_s, settings.id_window_events)
        self._kafka: EventConsumer | None = None
        self._counted: dict[int, int] = {}
        """Where Redis has said that the counts of each partition end; what was only fetched is not in it."""
        self._pauses = 0
        self._last_success_s = time.monotonic()
        self._observed_s = 0.0

    async def check_kafka(self) -> str:
        """Raise unless this process is in its group and the cluster answers."""
        if self._kafka is None:
            raise RuntimeError("not in the consumer group yet")
        await self._kafka.check()
        return f"partitions {sorted(self._kafka.assigned())}"

    async def count_forever(self) -> None:
        """Count until cancelled or `stopping`.

        Raises KafkaUnavailable or CounterStoreError when that has failed for `give_up_s`.
        """
        described = False
        while not self.stopping:
            try:
                if not described:
                    await self._store.describe(self._handler.description)
                    described = True
                async with self._member() as kafka:
                    await self._count(kafka)
            except CounterStoreError as error:
                await self._pause("redis_unavailable", error)
            except KafkaUnavailable as error:
                await self._pause("kafka_unavailable", error)

    def _member(self) -> EventConsumer:
        return EventConsumer(
            self._settings,
            topic=names.EVENTS_TOPIC,
            group=names.consumer_group(self._name),
            positions=self._positions,
            max_poll_events=self._settings.poll_events,
        )

    async def _count(self, kafka: EventConsumer) -> None:
        self._kafka = kafka
        try:
            while not self.stopping:
                self.heartbeat.beat()
                try:
                    await self._turn(kafka)
                except CounterStoreError as error:
                    # Stay in the group: a Redis that restarts is back sooner than partitions have moved. What was
                    # polled is dropped, and asked for again from where Redis says the counts end.
                    kafka.reposition(kafka.assigned())
                    await self._pause("redis_unavailable", error)
        finally:
            self._kafka = None

    async def _turn(self, kafka: EventConsumer) -> None:
        began_s = time.monotonic()
        try:
            batches = await kafka.poll(wait_s=self._settings.poll_wait_s)
        except OffsetGone as gone:
            await self._begin_again(kafka, gone)
            return
        if batches:
            await self._write(kafka, batches)
        now_s = time.monotonic()
        if batches or now_s - began_s > self._settings.poll_wait_s / 2:
            # Written, or waited and nothing came. A poll that is empty at once has only found its place.
            self._pauses, self._last_success_s = 0, now_s
        if now_s - self._observed_s >= self._settings.lag_interval_s:
            self._observed_s = now_s
            await self._observe(kafka)

    async def _write(self, kafka: EventConsumer, batches: Mapping[int, Batch]) -> None:
        began_s = time.perf_counter()
        now_ms = time.time_ns() // 1_000_000
        refused: set[int] = set()
        known: dict[int, set[bytes]] = {partition: set() for partition in batches}
        pending = list(batches)
        while pending:
            # A batch that holds copies is refused, whole, and its copies are told: it comes again without them. That
            # ends, since each time it is smaller; a third time is only when another member has counted more meanwhile.
            updates = [self._update(partition, batches[partition], now_ms, known[partition]) for partition in pending]
            outcome = await self._store.apply(
                self._name, updates, max_labels=self._settings.max_labels, window=self._window
            )
            refused |= outcome.refused
            for update in updates:
                if update.partition in outcome.copies:
                    known[update.partition] |= ids_at(update.ids, outcome.copies[update.partition])
                elif update.partition not in outcome.refused:
                    self._tell(update)
            pending = list(outcome.copies)
            self.heartbeat.beat()
        self._metrics.batch_seconds.labels(self._name).observe(time.perf_counter() - began_s)
        if refused:
            # Another member, or this one unheard, has counted past the start of the batch; or Redis has forgotten.
            log.warning("batches_refused", partitions=sorted(refused))
            self._metrics.refused_batches.labels(self._name).inc(len(refused))
            kafka.reposition(refused)

    def _tell(self, update: Update) -> None:
        """Tell what was written."""
        self._counted[update.partition] = update.next_offset
        self._metrics.counted.labels(self._name).inc(update.events)
        self._metrics.invalid.labels(self._name).inc(update.invalid)
        self._metrics.copies.labels(self._name).inc(update.copies)
        place = {"partition": update.partition, "first_offset": update.first_offset}
        if update.invalid:
            log.warning("invalid_records", **place, records=update.invalid)
        if update.copies:
            log.debug("copies_dropped", **place, records=update.copies)

    def _update(self, partition: int, batch: Batch, now_ms: int, known: set[bytes]) -> Update:
        records = ((record.value, record.headers) for record in batch.records)
        folded = fold(records, self._handler.count, seen_at_ms=now_ms, known=known)
        # A record's timestamp is its time of receipt. One that lies ahead (a clock that was wrong) must not stick.
        received_ms = min(now_ms, max(record.timestamp for record in batch.records))
        return Update(
            partition=partition,
            first_offset=batch.first_offset,
            next_offset=batch.next_offset,
            events=folded.events,
            invalid=folded.invalid,
            last_received_ms=max(0, received_ms),
            counts=folded.counts,
            copies=folded.copies,
            ids=folded.ids,
        )

    async def _positions(self, partitions: Sequence[int]) -> dict[int, int]:
        """Return where the counts of each partition end; one that was never counted begins where the topic does."""
        stored = await self._store.positions(self._name)
        new = [partition for partition in partitions if partition not in stored]
        if new and self._kafka is not None:
            for partition, begin in (await self._kafka.begin_offsets(new)).items():
                stored[partition] = await self._store.begin(self._name, partition, at=begin)
        found = {partition: stored[partition] for partition in partitions if partition in stored}
        self._counted.update(found)
        log.info("partitions_taken", positions={str(partition): offset for partition, offset in found.items()})
        return found

    async def _begin_again(self, kafka: EventConsumer, gone: OffsetGone) -> None:
        """Go on at the first offset that the topic holds, in partitions that no longer hold where the counts end."""
        begins = await kafka.begin_offsets(gone.positions)
        for partition, position in gone.positions.items():
            begin = begins[partition]
            missed = max(0, begin - position)
            moved = await self._store.move_position(self._name, partition, expected=position, to=begin, missed=missed)
            if moved and missed:
                log.error("offsets_missed", partition=partition, position=position, begin=begin, missed=missed)
                self._metrics.missed.labels(self._name).inc(missed)
            elif moved:
                # The topic ends before the position: it was deleted and made anew, and all in it is new.
                log.error("topic_made_anew", partition=partition, position=position, begin=begin)
        kafka.reposition(gone.positions)

    async def _observe(self, kafka: EventConsumer) -> None:
        """Measure lag, and commit positions for lag tools: nothing here reads what is committed, so failing is fine."""
        # Not where the next fetch begins: one that came late, beside the loop, may be ahead of what was counted.
        positions = {partition: self._counted[partition] for partition in kafka.placed()}
        if not positions:
            self._metrics.lag.clear()
            return
        try:
            ends = await kafka.end_offsets(positions)
            await kafka.commit(positions)
        except KafkaUnavailable as error:
            log.info("lag_not_observed", reason=str(error))
            return
        self._metrics.lag.clear()  # partitions that went to others
        for partition, end in ends.items():
            self._metrics.lag.labels(self._name, str(partition)).set(max(0, end - positions[partition]))

    async def _pause(self, event: str, error: Exception) -> None:
        """Wait before the next try; raises `error` when nothing has worked for too long."""
        failing_s = time.monotonic() - self._last_success_s
        if failing_s > self._settings.give_up_s:
            raise error
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**self._pauses)
        self._pauses = min(self._pauses + 1, 16)
        log.warning(event, failing_s=round(failing_s, 1), error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads retries, keeps no secret
