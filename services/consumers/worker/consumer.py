"""StatisticsConsumer: polls the topic, folds each batch, and writes counts and positions with one script.

Redis stores the next offset of each partition and the fingerprints of counted events beside the counts. This process
keeps no state that a kill could lose or a rebalance could make stale. So each record of the topic is processed exactly
once, and one of several records with the same fingerprint is counted.
"""

import time
from collections.abc import Mapping, Sequence

from services.backbone import names
from services.backbone.counters import CounterStore, CounterStoreError, IdWindow, Update, position_error
from services.backbone.health import Heartbeat
from services.backbone.kafka import EventConsumer, KafkaUnavailable, OffsetGone, RecordBatch
from services.backbone.logs import get_logger
from services.consumers.core import fold, ids_at
from services.consumers.handlers import Handler
from services.consumers.metrics import Metrics
from services.consumers.settings import Settings
from services.consumers.worker.members import HEARTBEAT_LIMIT_S, OutagePauses, check_assignment, check_member

log = get_logger(__name__)


class StatisticsConsumer:
    """Counts the events of its assigned partitions.

    While Redis or Kafka is down, it is not ready and retries with growing pauses, for at most `give_up_s`.
    """

    def __init__(self, handler: Handler, settings: Settings, store: CounterStore, metrics: Metrics) -> None:
        self.heartbeat = Heartbeat(limit_s=HEARTBEAT_LIMIT_S)
        self.stopping = False
        """Ends the loops. Set it before a cancellation: asyncio and the Kafka client can swallow one."""
        self._handler = handler
        self._name = handler.description.name
        self._settings = settings
        self._store = store
        self._metrics = metrics
        metrics.begin(self._name, partitions=lambda: len(self._held()), stopped=lambda: len(self._stopped()))
        self._window = IdWindow(settings.id_window_s, settings.id_window_events)
        self._kafka: EventConsumer | None = None
        self._counted: dict[int, int] = {}
        """The next offset to count of each partition, as Redis confirmed it. Fetched records do not change it."""
        self._topic_id: str | None = None
        """The id of the topic that the positions belong to."""
        self._invalid: dict[int, str] = {}
        """Invalid stored positions, by partition. These partitions wait until an operator repairs the position."""
        self._pauses = OutagePauses(settings.give_up_s)
        self._observed_s = 0.0

    async def check_kafka(self) -> str:
        """Raise unless this process is a member of its group and the cluster responds."""
        return await check_member(self._kafka)

    async def check_partitions(self) -> str:
        """Raise unless this process counts all its partitions.

        A member without partitions is ready if it is a spare.
        """
        stopped = self._stopped()
        if stopped:
            raise RuntimeError(" ".join(position_error(self._name, str(at), stopped[at]) for at in sorted(stopped)))
        return await check_assignment(self._kafka, self._held())

    def _held(self) -> set[int]:
        return self._kafka.assigned() if self._kafka is not None else set()

    def _stopped(self) -> dict[int, str]:
        held = self._held()
        return {partition: value for partition, value in self._invalid.items() if partition in held}

    async def count_forever(self) -> None:
        """Count until cancelled or until `stopping` is set.

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
                await self._pauses.pause("redis_unavailable", error)
            except KafkaUnavailable as error:
                await self._pauses.pause("kafka_unavailable", error)

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
                    await self._cycle(kafka)
                except CounterStoreError as error:
                    # Stay in the group: a Redis restart takes less time than a rebalance. Drop the polled records
                    # and read them again from the stored position.
                    kafka.reset_position(kafka.assigned())
                    await self._pauses.pause("redis_unavailable", error)
        finally:
            self._kafka = None

    async def _cycle(self, kafka: EventConsumer) -> None:
        began_s = time.monotonic()
        try:
            batches = await kafka.poll(wait_s=self._settings.poll_wait_s)
        except OffsetGone as gone:
            await self._skip_to_available(kafka, gone)
            return
        if batches:
            await self._write(kafka, batches)
        now_s = time.monotonic()
        if batches or now_s - began_s > self._settings.poll_wait_s / 2:
            # A write is a success. A poll that waited is a success as well. An empty poll that returns at once is not.
            self._pauses.renew()
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
            # The script rejects a batch that contains duplicates and returns them. The next attempt omits them. The
            # loop ends because each attempt is smaller; a third is needed only if another member counts meanwhile.
            updates = [self._update(partition, batches[partition], now_ms, known[partition]) for partition in pending]
            outcome = await self._store.apply(
                self._name, updates, max_labels=self._settings.max_labels, window=self._window
            )
            refused |= outcome.refused
            for update in updates:
                if update.partition in outcome.duplicates:
                    known[update.partition] |= ids_at(update.ids, outcome.duplicates[update.partition])
                elif update.partition not in outcome.refused:
                    self._report_written(update)
            pending = list(outcome.duplicates)
            self.heartbeat.beat()
        self._metrics.batch_seconds.labels(self._name).observe(time.perf_counter() - began_s)
        if refused:
            # Another member, or a write of this one whose response was lost, moved the position; or Redis lost it.
            log.warning("batches_refused", partitions=sorted(refused))
            self._metrics.refused_batches.labels(self._name).inc(len(refused))
            kafka.reset_position(refused)

    def _report_written(self, update: Update) -> None:
        """Record metrics and logs of a written update."""
        self._counted[update.partition] = update.next_offset
        self._metrics.counted.labels(self._name).inc(update.events)
        self._metrics.invalid.labels(self._name).inc(update.invalid)
        self._metrics.duplicates.labels(self._name).inc(update.duplicates)
        fields = {"partition": update.partition, "first_offset": update.first_offset}
        if update.invalid:
            log.warning("invalid_records", **fields, records=update.invalid)
        if update.duplicates:
            log.debug("duplicates_dropped", **fields, records=update.duplicates)

    def _update(self, partition: int, batch: RecordBatch, now_ms: int, known: set[bytes]) -> Update:
        records = ((record.key, record.value, record.headers) for record in batch.records)
        folded = fold(records, self._handler.count, seen_at_ms=now_ms, known=known)
        # A record's timestamp is its time of receipt. Do not store a timestamp in the future, which a wrong clock
        # causes.
        # A batch without records only moves the position.
        received_ms = min(now_ms, max((record.timestamp for record in batch.records), default=0))
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
        """Return the next offset to count of each partition. A new partition begins at its first offset.

        The result omits a partition whose stored position is invalid: that partition stops, the others continue.
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
        """Give up the positions if the topic was deleted and recreated: all its records are new."""
        topic_id = (await kafka.topic()).id
        if topic_id is not None:
            given_up = await self._store.adopt_topic(self._name, topic_id)
            if given_up is not None:
                log.error("topic_recreated", topic_id=topic_id, given_up=given_up)
                self._metrics.given_up.labels(self._name).inc(given_up)
        self._topic_id = topic_id

    def _log_invalid(self, partitions: Sequence[int], invalid: Mapping[str, str]) -> None:
        for partition in partitions:
            value = invalid.get(str(partition))
            if value is None:
                self._invalid.pop(partition, None)
            elif self._invalid.get(partition) != value:
                self._invalid[partition] = value  # log once: each poll reads it again
                log.error("position_invalid", error=position_error(self._name, str(partition), value))

    async def _skip_to_available(self, kafka: EventConsumer, gone: OffsetGone) -> None:
        """Continue at the first available offset in partitions whose stored position is out of range."""
        if (await kafka.topic()).id != self._topic_id:
            kafka.reset_position(kafka.assigned())  # `_positions` then gives up all positions of the deleted topic
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
                # The topic ends before the position: a broker lost the end of its log, or the topic was recreated on
                # brokers without topic ids.
                log.error("topic_cut", partition=partition, position=position, begin=begin)
                self._metrics.given_up.labels(self._name).inc(position - begin)
        kafka.reset_position(gone.positions)

    async def _observe(self, kafka: EventConsumer) -> None:
        """Check the topic's id and the stored positions, measure lag, and commit positions for lag tools.

        A failure of Kafka is only logged: this service never reads committed offsets.
        """
        # The position of the next fetch may be ahead of the counted records, because fetches run beside this loop.
        positions = {partition: self._counted[partition] for partition in kafka.positioned()}
        if not positions:
            self._metrics.lag.clear()
            return
        # Without new records, no rejected batch shows that an operator has moved the position.
        stored = (await self._store.read_positions(self._name)).offsets
        moved = {partition for partition, at in positions.items() if stored.get(partition) != at}
        if moved:
            log.warning("positions_moved", partitions=sorted(moved))
            kafka.reset_position(moved)
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
        self._metrics.lag.clear()  # removes partitions that moved to other members
        for partition, end in ends.items():
            self._metrics.lag.labels(self._name, str(partition)).set(max(0, end - positions[partition]))
