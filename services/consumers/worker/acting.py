"""ActionConsumer: sends an action for each event to the workers, and commits an offset when all before it are finished.

Kafka is the memory. This process keeps the unfinished actions, and Redis what is known of each. When this process or
Redis is lost, the events from the committed offset on are taken again, and workers drop what is finished by its id.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from services.backbone import names
from services.backbone.clock import clock_ms
from services.backbone.health import Heartbeat
from services.backbone.kafka import EventConsumer, KafkaUnavailable, OffsetGone, Position, RecordBatch
from services.backbone.logs import get_logger
from services.consumers.core.actions import ActionRule, Selected, SourceRecord, select
from services.consumers.core.flights import RETRY_PARTITION, Finished, Flights
from services.consumers.core.offsets import LowWaterMark
from services.consumers.metrics import ActionMetrics
from services.consumers.settings import Settings
from services.consumers.store.actions import ActionStore, ActionStoreError, HandlerCondition
from services.consumers.store.celery_queues import ActionQueues, QueueUnavailable
from services.consumers.worker.members import HEARTBEAT_LIMIT_S, OutagePauses, check_assignment, check_member
from services.consumers.worker.observing import ActionObserver

log = get_logger(__name__)

_ACTIVE_WAIT_S: Final = 0.05
"""Pause between two reads of reports while actions are in flight."""
_AWAY_WAIT_S: Final = 0.5
"""The same pause while what the actions need is away: only a probe runs then, at most every half second."""
_COMMIT_S: Final = 0.5
_REQUESTED_S: Final = 1.0
"""Seconds between two looks for what operators request: retried actions and moved positions."""


class ActionConsumer:
    """Acts on the events of its assigned partitions.

    While Redis or Kafka is down, it is not ready and retries with growing pauses, for at most `give_up_s`.
    """

    def __init__(
        self, rule: ActionRule, settings: Settings, store: ActionStore, queues: ActionQueues, metrics: ActionMetrics
    ) -> None:
        self.heartbeat = Heartbeat(limit_s=HEARTBEAT_LIMIT_S)
        self.stopping = False
        """Ends the loops. Set it before a cancellation: asyncio and the Kafka client can swallow one."""
        self._rule = rule
        self._name = rule.handler
        self._settings = settings
        self._store = store
        self._queues = queues
        self._metrics = metrics
        self._observer = ActionObserver(rule.handler, store.overview, metrics, interval_s=settings.lag_interval_s)
        self._flights = Flights(
            most=settings.in_flight, time_limit_s=settings.time_limit_s, backoff_s=settings.backoff_s
        )
        self._marks: dict[int, LowWaterMark] = {}
        self._committed: dict[int, int] = {}
        self._invalid: list[Selected] = []
        """Invalid events that are not in the dead list yet."""
        self._condition = HandlerCondition(None, 0)
        self._kafka: EventConsumer | None = None
        self._pauses = OutagePauses(settings.give_up_s)
        self._next_commit_s = self._next_requested_s = self._next_lag_s = 0.0
        metrics.begin(
            self._name,
            unfinished=lambda: sum(mark.unfinished for mark in self._marks.values()),
            in_flight=lambda: self._flights.in_flight,
            waiting=lambda: self._flights.waiting,
            oldest_s=lambda: self._flights.oldest_s(time.monotonic()),
            away=lambda: float(self._condition.away is not None),
        )
        metrics.provider_wait_limit.labels(self._name).set(rule.provider_wait_s)

    async def check_kafka(self) -> str:
        """Raise unless this process is a member of its group and the cluster responds."""
        return await check_member(self._kafka)

    async def check_partitions(self) -> str:
        """Raise if this member has no partition, unless it is a spare."""
        return await check_assignment(self._kafka, self._kafka.assigned() if self._kafka is not None else ())

    async def check_dependency(self) -> str:
        """Raise while what the actions depend on can't be reached."""
        if self._condition.away is not None:
            raise RuntimeError(self._condition.away)
        return ""

    async def act_forever(self) -> None:
        """Act until cancelled or until `stopping` is set.

        Raises KafkaUnavailable, ActionStoreError or QueueUnavailable when that has failed for `give_up_s`.
        """
        while not self.stopping:
            try:
                async with self._member() as kafka:
                    await self._act(kafka)
            except KafkaUnavailable as error:
                await self._pauses.pause("kafka_unavailable", error)

    def _member(self) -> EventConsumer:
        return EventConsumer(
            self._settings,
            topic=names.EVENTS_TOPIC,
            group=names.consumer_group(self._name),
            positions=self._positions,
            max_poll_events=self._settings.poll_events,
            before_rebalance=self._commit_before_rebalance,
        )

    async def _act(self, kafka: EventConsumer) -> None:
        self._kafka = kafka
        try:
            while not self.stopping:
                self.heartbeat.beat()
                try:
                    await self._cycle(kafka)
                except (ActionStoreError, QueueUnavailable) as error:
                    # Stay in the group, with all actions: a Redis restart takes less time than a rebalance.
                    await self._pauses.pause("redis_unavailable", error)
        finally:
            await self._commit(kafka)
            self._kafka = None
            self._drop(set(self._marks))
            with contextlib.suppress(ActionStoreError):  # without Redis its state expires
                await self._observer.end()

    async def _cycle(self, kafka: EventConsumer) -> None:
        """Take records if none wait, then send, read reports, and commit what they finish."""
        self._drop(self._marks.keys() - kafka.positioned())
        if self._flights.waiting:
            await asyncio.sleep(self._wait_s)
        else:
            await self._poll(kafka, wait_s=self._wait_s)
        await self._write_invalid()
        now_s = time.monotonic()
        if now_s >= self._next_requested_s:
            self._next_requested_s = now_s + _REQUESTED_S
            if RETRY_PARTITION in self._marks:
                await self._take_retried()
            await self._apply_moves(kafka, kafka.positioned())
        await self._read_reports()
        await self._send()
        self._pauses.renew()
        now_s = time.monotonic()
        if now_s >= self._next_commit_s:
            self._next_commit_s = now_s + _COMMIT_S
            await self._commit(kafka)
        if now_s >= self._next_lag_s:
            self._next_lag_s = now_s + self._settings.lag_interval_s
            marks = {partition: mark.mark for partition, mark in self._marks.items()}
            await self._observer.observe(kafka, marks, self._flights, now_s)

    @property
    def _wait_s(self) -> float:
        """Seconds until the next read of reports."""
        if not self._flights.in_flight and not self._invalid:
            return self._settings.poll_wait_s
        return _ACTIVE_WAIT_S if self._condition.away is None else _AWAY_WAIT_S

    async def _poll(self, kafka: EventConsumer, *, wait_s: float) -> None:
        try:
            batches = await kafka.poll(wait_s=wait_s)
        except OffsetGone as gone:
            await self._skip_to_available(kafka, gone)
            return
        self._take(batches)

    def _take(self, batches: Mapping[int, RecordBatch]) -> None:
        """Take polled records. No step in between waits, so that none is lost."""
        records = [
            SourceRecord(partition, record.offset, record.key, record.value, record.headers)
            for partition, batch in batches.items()
            for record in batch.records
        ]
        oldest_ms = clock_ms() - round(1000 * self._settings.oldest_s)
        selected = select(self._rule, records, oldest_ms=oldest_ms)
        now_s = time.monotonic()
        for partition, batch in batches.items():
            offsets = [each.offset for each in selected if each.partition == partition]
            self._marks[partition].take(batch.next_offset, offsets)
        for each in selected:
            if each.invalid:
                self._invalid.append(each)
            else:
                self._flights.add(each.action, [(each.partition, each.offset)], now_s)
        self._metrics.taken.labels(self._name).inc(len(selected))
        self._metrics.passed.labels(self._name).inc(len(records) - len(selected))

    async def _write_invalid(self) -> None:
        if not self._invalid:
            return
        events = self._invalid
        await self._store.write_invalid_events(events)
        self._invalid = []
        # Not their reasons: these have values of clients.
        log.warning("events_invalid", handler=self._name, count=len(events))
        self._metrics.invalid.labels(self._name).inc(len(events))
        self._finish_events([(event.partition, event.offset) for event in events], is_dead=True)

    async def _take_retried(self) -> None:
        """Take actions that operators retry. At most half of those in flight, so that events go on."""
        most = (self._settings.in_flight + 1) // 2
        found = await self._store.retried(self._name, most=most)
        new = [action for action in found if action.id not in self._flights]
        for action in new[: max(0, most - self._flights.retried)]:
            self._flights.add(action, [], time.monotonic())

    async def _read_reports(self) -> None:
        reports = await self._store.reports(self._name, self._flights.admit())
        # After the reports: an action that was not begun because its dependency is away must wait for this key.
        self._condition = await self._store.condition(self._name)
        now_s = time.monotonic()
        for id_, report in reports.items():
            finished = self._flights.observe(id_, report, now_s)
            if finished is not None:
                self._finish(finished, now_s)

    def _finish(self, finished: Finished, now_s: float) -> None:
        self._finish_events(finished.offsets, is_dead=finished.is_dead)
        self._metrics.seconds.labels(self._name).observe(now_s - finished.taken_s)
        if not finished.offsets:
            self._metrics.dead_again.labels(self._name).inc(int(finished.is_dead))
            log.info("retried_action_ended", handler=self._name, id=finished.action.id, is_dead=finished.is_dead)

    def _finish_events(self, offsets: Sequence[tuple[int, int]], *, is_dead: bool) -> None:
        for partition, offset in offsets:
            self._marks[partition].finish(offset)
        (self._metrics.dead if is_dead else self._metrics.acted).labels(self._name).inc(len(offsets))

    async def _send(self) -> None:
        away, queued = self._condition
        sends = self._flights.due(time.monotonic(), is_away=away is not None, queued=queued)
        if not sends:
            return
        try:
            await asyncio.to_thread(self._queues.send, sends)
        except QueueUnavailable:
            self._flights.unsend(sends, time.monotonic())
            raise
        self._metrics.sent.labels(self._name).inc(len(sends))

    async def _commit(self, kafka: EventConsumer) -> None:
        """Commit the marks that have moved. A failure is harmless: the next commit contains them."""
        marks = {partition: mark.mark for partition, mark in self._marks.items()}
        moved = {partition: at for partition, at in marks.items() if at != self._committed.get(partition)}
        try:
            await kafka.commit(moved)
        except KafkaUnavailable as error:
            log.info("offsets_not_committed", handler=self._name, reason=str(error))
            return
        self._committed.update(moved)

    async def _commit_before_rebalance(self) -> None:
        if self._kafka is not None:
            await self._commit(self._kafka)

    async def _positions(self, partitions: Sequence[int]) -> dict[int, Position]:
        """Return the committed offsets. A partition without one begins at its first offset."""
        if self._kafka is None:
            return {}
        self._drop(partitions)
        await self._apply_moves(self._kafka, partitions)
        found = await self._kafka.committed(partitions)
        new = [partition for partition, position in found.items() if position is None]
        positions = {partition: at for partition, at in found.items() if at is not None}
        if new:
            positions.update(await self._kafka.beginning_offsets(new))
        for partition, position in positions.items():
            self._marks[partition] = LowWaterMark(position)
            self._committed[partition] = position
        log.info("partitions_taken", handler=self._name, positions={str(part): at for part, at in positions.items()})
        return dict(positions)

    async def _apply_moves(self, kafka: EventConsumer, partitions: Iterable[int]) -> None:
        """Commit the offsets that operators request, and continue there. Actions that are sent already run."""
        requested = await self._store.moves.read(self._name)
        moved = {partition: requested[partition] for partition in partitions if partition in requested}
        self._drop(moved)
        # The request is removed last: after a failure, the next owner of the partition applies it.
        await kafka.commit(moved)
        kafka.reset_position(moved)
        for partition, position in moved.items():
            log.warning("position_moved", handler=self._name, partition=partition, position=position)
            await self._store.moves.remove(self._name, partition, position)

    def _drop(self, partitions: Iterable[int]) -> None:
        """Drop the events of partitions that this member has lost or reads again."""
        dropped = set(partitions)
        if not dropped:
            return
        self._flights.drop(dropped)
        self._invalid = [each for each in self._invalid if each.partition not in dropped]
        for partition in dropped:
            mark = self._marks.pop(partition, None)
            self._committed.pop(partition, None)
            if mark is not None:
                self._metrics.dropped.labels(self._name).inc(mark.unfinished)

    async def _skip_to_available(self, kafka: EventConsumer, gone: OffsetGone) -> None:
        """Continue at the first available offset in partitions whose next offset is out of range."""
        begins = await kafka.beginning_offsets(gone.positions)
        for partition, position in gone.positions.items():
            begin = begins[partition]
            if partition not in kafka.positioned():
                continue  # a rebalance began meanwhile
            fields = {"handler": self._name, "partition": partition, "position": position, "begin": begin}
            if begin > position:
                # The events that were polled before are still acted on.
                log.error("offsets_missed", **fields, missed=begin - position)
                self._metrics.missed.labels(self._name).inc(begin - position)
                self._marks[partition].take(begin, ())
                kafka.seek(partition, begin)
            else:  # the topic was recreated, or a broker has lost the end of its log
                log.error("topic_cut", **fields)
                self._drop([partition])
                await kafka.commit({partition: begin})
                kafka.reset_position([partition])
