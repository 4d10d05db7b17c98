"""The canary's process: independent loops that send, read the topic, read the counter, and report late canaries."""

import asyncio
import contextlib
import itertools
import time
import uuid

from prometheus_client import CollectorRegistry

from services.backbone.backoff import Backoff
from services.backbone.counters import CounterStoreError
from services.backbone.health import Health, Heartbeat, create_internal_app
from services.backbone.kafka import KafkaUnavailable
from services.backbone.logs import get_logger
from services.backbone.process import http_server, run_task
from services.canary.core import Arrival, InFlight, device_of
from services.canary.lookups import CanaryClient, CounterPositions, NotAccepted, TopicWatch
from services.canary.lookups.topic import FoundRecord
from services.canary.metrics import Metrics
from services.canary.settings import Settings

log = get_logger(__name__)

_COUNTER_POLL_S = 0.05  # the precision of "counted"; polled only while a canary is in the topic and not counted
_LATE_CHECK_S = 1.0
_LONGEST_PAUSE_S = 1.0  # before Kafka or Redis is tried again
_HEARTBEAT_SLACK_S = 10.0


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Send canaries until `stop` is set.

    The internal port opens first, so that it reports missing dependencies. Then the loops run concurrently. A stop
    finishes nothing: a canary in flight is an event like any other.
    """
    registry = CollectorRegistry()
    counter = CounterPositions(settings.counters_redis_url.get_secret_value(), settings.counter)
    topic = TopicWatch(settings, back_s=settings.late_s)
    tracker = CanaryClient(settings.tracker_url, timeout_s=settings.interval_s)
    canary = Canary(settings, tracker, topic, counter, Metrics(registry))
    # Not the tracker: the canary must run and report while the tracker is down. It needs Kafka and Redis to see events.
    health = Health({"loop": canary.heartbeat.check, "kafka": canary.check_kafka, "redis": counter.check})
    app = create_internal_app(health, registry)
    async with (
        contextlib.aclosing(counter),
        http_server(app, host=settings.internal_host, port=settings.internal_port, drain_s=1.0),
        tracker,
    ):
        log.info("started", tracker=settings.tracker_url, counter=settings.counter)

        def begin_stop() -> None:
            health.stopping = topic.stopping = True

        await run_task(canary.run_loops(), stop, before_cancel=begin_stop)


class Canary:
    """Sends canaries, one at a time, and reports the stages that each reaches."""

    def __init__(
        self,
        settings: Settings,
        tracker: CanaryClient,
        topic: TopicWatch,
        counter: CounterPositions,
        metrics: Metrics,
    ) -> None:
        self.heartbeat = Heartbeat(limit_s=2 * settings.interval_s + _HEARTBEAT_SLACK_S)
        self._settings = settings
        self._tracker = tracker
        self._topic = topic
        self._counter = counter
        self._metrics = metrics
        self._in_flight = InFlight(late_s=settings.late_s)
        self._found = asyncio.Event()
        metrics.in_flight.set_function(lambda: len(self._in_flight))

    async def check_kafka(self) -> str:
        """Raise unless the topic is being read."""
        if self._topic.failure:
            raise KafkaUnavailable(self._topic.failure)
        return ""

    async def run_loops(self) -> None:
        """Send canaries and report them until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_forever())
            tasks.create_task(self._follow_topic())
            tasks.create_task(self._follow_counter())
            tasks.create_task(self._report_late())

    async def _send_forever(self) -> None:
        """Send one canary per interval. A late response delays the next canary, so at most one request is open."""
        due_s = time.monotonic()
        for number in itertools.count():
            self.heartbeat.beat()
            await self._send(str(uuid.uuid4()), device_of(number))
            due_s = max(due_s + self._settings.interval_s, time.monotonic())
            await asyncio.sleep(due_s - time.monotonic())

    async def _send(self, canary: str, device: str) -> None:
        self._in_flight.add(canary, now_s=time.monotonic())
        self._metrics.sent.inc()
        try:
            async with asyncio.timeout(self._settings.interval_s):
                await self._tracker.send(canary, device)
        except NotAccepted as error:
            self._in_flight.not_accepted(canary, str(error))
        except TimeoutError:
            self._in_flight.not_accepted(canary, f"no response within {self._settings.interval_s} s")
        else:
            self._report(self._in_flight.accepted(canary, now_s=time.monotonic()))

    async def _follow_topic(self) -> None:
        backoff = Backoff(longest_s=_LONGEST_PAUSE_S)
        while not self._topic.stopping:
            try:
                await self._topic.follow(self._in_flight.__contains__, self._take_found)
            except KafkaUnavailable as error:
                log.debug("kafka_unavailable", error=str(error))  # each late canary logs the consequence
                await asyncio.sleep(backoff.next_s())

    def _take_found(self, found: FoundRecord) -> None:
        self._report(
            self._in_flight.found(found.id, partition=found.partition, offset=found.offset, now_s=time.monotonic())
        )
        self._found.set()

    async def _follow_counter(self) -> None:
        backoff = Backoff(longest_s=_LONGEST_PAUSE_S)
        while True:
            await self._found.wait()
            self._found.clear()
            while self._in_flight.uncounted:
                try:
                    positions = await self._counter.get()
                except (CounterStoreError, OSError) as error:
                    log.debug("redis_unavailable", error=f"{type(error).__name__}: {error}")
                    await asyncio.sleep(backoff.next_s())
                else:
                    backoff.reset()
                    self._report(self._in_flight.counted(positions, now_s=time.monotonic()))
                    await asyncio.sleep(_COUNTER_POLL_S)

    async def _report_late(self) -> None:
        while True:
            await asyncio.sleep(min(_LATE_CHECK_S, self._settings.late_s / 4))
            for late in self._in_flight.take_late(now_s=time.monotonic()):
                self._metrics.late.labels(late.stage).inc()
                log.warning(
                    "canary_late", id=late.id, stage=late.stage, late_s=self._settings.late_s, detail=late.detail
                )

    def _report(self, arrivals: list[Arrival]) -> None:
        for arrival in arrivals:
            self._metrics.seen.labels(arrival.stage).inc()
            self._metrics.stage_seconds.labels(arrival.stage).observe(arrival.seconds)
            self._metrics.last_success.labels(arrival.stage).set_to_current_time()
            log.debug("canary_seen", id=arrival.id, stage=arrival.stage, seconds=round(arrival.seconds, 3))
