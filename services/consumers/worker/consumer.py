"""StatisticsConsumer: poll, fold, write counts and positions in one step, again.

Where each partition goes on, and which ids were counted, stands in Redis beside the counts, nowhere else: this process
keeps nothing that a kill could lose or a rebalance could make wrong. So each record of the topic is looked at exactly
once, and of records with the same fingerprint one is counted.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from services.backbone import names
from services.backbone.backoff import Backoff
from services.backbone.counters import CounterStore, CounterStoreError, IdWindow, Update, position_error
from services.backbone.health import Heartbeat
from services.backbone.kafka import EventConsumer, KafkaUnavailable, OffsetGone, RecordBatch
from services.backbone.logs import get_logger
from services.consumers.core import fold, ids_at
from services.consumers.handlers import Handler
from services.consumers.metrics import Metrics
from services.consumers.settings import Settings

log = get_logger(__name__)

_HEARTBEAT_LIMIT_S = 30.0  # the longest honest turn: a poll, a rebalance that waits for a dead member, Redis' limit


class StatisticsConsumer:
    """Counts the events of the partitions that its group gives it.

    Redis or Kafka away: it waits, not ready, and tries again with growing pauses, for `give_up_s` at most.
    """

    def __init__(self, handler: Handler, settings: Settings, store: CounterStore, metrics: Metrics) -> None:
        self.heartbeat = Heartbeat(limit_s=_HEARTBEAT_LIMIT_S)
        self.stopping = False
        """Ends the loops. Set it before cancelling: asyncio and the Kafka client can swallow a cancellation."""
        self._handler = handler
        self._name = handler.description.name
        self._settings = settings
        self._store = store
        self._metrics = metrics
        metrics.begin(self._name, partitions=lambda: len(self._held()), stopped=lambda: len(self._stopped()))
        self._window = IdWindow(settings.id_window_s, settings.id_window_events)
        self._kafka: EventConsumer | None = None
        self._counted: dict[int, int] = {}
        """Where Redis has said that the counts of each partition end; what was only fetched is not in it."""
        self._topic_id: str | None = None
        """The topic that the positions belong to."""
        self._invalid: dict[int, str] = {}
        """What Redis holds in place of a position, by partition. These partitions wait until it is mended."""
        self._backoff = Backoff(first_s=0.1, longest_s=5.0)
        self._last_success_s = time.monotonic()
        self._observed_s = 0.0

    async def check_kafka(self) -> str:
        """Raise unless this process is in its group and the cluster answers."""
        if self._kafka is None:
            raise RuntimeError("not in the consumer group yet")
        await self._kafka.check()
        return ""

    async def check_partitions(self) -> str:
        """Raise unless this process counts all partitions that it holds, and holds one if there is one for it."""
        kafka = self._kafka
        if kafka is None:
            raise RuntimeError("not in the consumer group yet")
        stopped = self._stopped()
        if stopped:
            raise RuntimeError(" ".join(position_error(self._name, str(at), stopped[at]) for at in sorted(stopped)))
        held = self._held()
        if held:
            return f"partitions {sorted(held)}"
        partitions, members = (await kafka.topic()).partitions, await kafka.group_size()
        if members <= partitions:
            raise RuntimeError(f"holds no partition, while {members} members share the topic's {partitions}")
        return f"spare: {members} members share the topic's {partitions} partitions"

    def _held(self) -> set[int]:
        return self._kafka.assigned() if self._kafka is not None else set()

    def _stopped(self) -> dict[int, str]:
        held = self._held()
        return {partition: value for partition, value in self._invalid.items() if partition in held}

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
                    kafka.reset_position(kafka.assigned())
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
            self._backoff.reset()
            self._last_success_s = now_s
        if now_s - self._observed_s >= self._settings.lag_interval_s:
            self._observed_s = now_s
            await self._observe(kafka)

    async def _write(self, kafka: EventConsumer, batches: Mapping[int, RecordBatch]) -> None:
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
                if update.partition in outcome.duplicates:
                    known[update.partition] |= ids_at(update.ids, outcome.duplicates[update.partition])
                elif update.partition not in outcome.refused:
                    self._report(update)
            pending = list(outcome.duplicates)
            self.heartbeat.beat()
        self._metrics.batch_seconds.labels(self._name).observe(time.perf_counter() - began_s)
        if refused:
            # Another member, or this one unheard, has counted past the start of the batch; or Redis has forgotten.
            log.warning("batches_refused", partitions=sorted(refused))
            self._metrics.refused_batches.labels(self._name).inc(len(refused))
            kafka.reset_position(refused)

    def _report(self, update: Update) -> None:
        """Tell what was written."""
        self._counted[update.partition] = update.next_offset
        self._metrics.counted.labels(self._name).inc(update.events)
        self._metrics.invalid.labels(self._name).inc(update.invalid)
        self._metrics.duplicates.labels(self._name).inc(update.duplicates)
        place = {"partition": update.partition, "first_offset": update.first_offset}
        if update.invalid:
            log.warning("invalid_records", **place, records=update.invalid)
        if update.duplicates:
            log.debug("copies_dropped", **place, records=update.duplicates)

    def _update(self, partition: int, batch: RecordBatch, now_ms: int, known: set[bytes]) -> Update:
        records = ((record.key, record.value, record.headers) for record in batch.records)
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
            duplicates=folded.duplicates,
            ids=folded.ids,
        )

    async def _positions(self, partitions: Sequence[int]) -> dict[int, int]:
        """Return where the counts of each partition end; one that was never counted begins where the topic does.

        A partition whose position is no number is left out: it stops, the others go on.
        """
        if self._kafka is not None:
            await self._adopt_topic(self._kafka)
        stored, invalid = await self._store.read_positions(self._name)
        self._log_invalid(partitions, invalid)
        new = [partition for partition in partitions if partition not in stored and str(partition) not in invalid]
        if new and self._kafka is not None:
            for partition, begin in (await self._kafka.beginning_offsets(new)).items():
                stored[partition] = await self._store.begin(self._name, partition, at=begin)
        found = {partition: stored[partition] for partition in partitions if partition in stored}
        self._counted.update(found)
        if found:
            log.info("partitions_taken", positions={str(partition): offset for partition, offset in found.items()})
        return found

    async def _adopt_topic(self, kafka: EventConsumer) -> None:
        """Give up the positions of a topic that was deleted and made anew: all in it is new."""
        topic_id = (await kafka.topic()).id
        if topic_id is not None:
            given_up = await self._store.adopt_topic(self._name, topic_id)
            if given_up is not None:
                log.error("topic_made_anew", topic_id=topic_id, given_up=given_up)
                self._metrics.given_up.labels(self._name).inc(given_up)
        self._topic_id = topic_id

    def _log_invalid(self, partitions: Sequence[int], invalid: Mapping[str, str]) -> None:
        for partition in partitions:
            value = invalid.get(str(partition))
            if value is None:
                self._invalid.pop(partition, None)
            elif self._invalid.get(partition) != value:
                self._invalid[partition] = value  # logged once: it is read again at each poll
                log.error("position_invalid", error=position_error(self._name, str(partition), value))

    async def _begin_again(self, kafka: EventConsumer, gone: OffsetGone) -> None:
        """Go on at the first offset that the topic holds, in partitions that no longer hold where the counts end."""
        if (await kafka.topic()).id != self._topic_id:
            kafka.reset_position(kafka.assigned())  # `_positions` gives up all positions of the former topic
            return
        begins = await kafka.beginning_offsets(gone.positions)
        for partition, position in gone.positions.items():
            begin = begins[partition]
            moved = await self._store.move_position(self._name, partition, expected=position, to=begin)
            if moved and begin > position:
                log.error(
                    "offsets_missed", partition=partition, position=position, begin=begin, missed=begin - position
                )
                self._metrics.missed.labels(self._name).inc(begin - position)
            elif moved:
                # The topic ends before the position: a broker has lost its end, or the topic was made anew on brokers
                # without topic ids.
                log.error("topic_cut", partition=partition, position=position, begin=begin)
                self._metrics.given_up.labels(self._name).inc(position - begin)
        kafka.reset_position(gone.positions)

    async def _observe(self, kafka: EventConsumer) -> None:
        """Look whether the topic is the same, measure lag, and commit positions for lag tools.

        Nothing here reads what is committed, so failing is fine.
        """
        # Not where the next fetch begins: one that came late, beside the loop, may be ahead of what was counted.
        positions = {partition: self._counted[partition] for partition in kafka.positioned()}
        if not positions:
            self._metrics.lag.clear()
            return
        try:
            if (await kafka.topic()).id != self._topic_id:
                kafka.reset_position(kafka.assigned())
                return
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
        log.warning(event, failing_s=round(failing_s, 1), error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(self._backoff.next_s())
