"""ActionObserver: measures the lag of an action consumer, and shows operators what it has in hand."""

import socket
import uuid
from collections.abc import Mapping
from typing import Final

from services.backbone.action_overview import ActionOverview, ConsumerState
from services.backbone.clock import clock_ms
from services.backbone.kafka import EventConsumer, KafkaUnavailable
from services.backbone.logs import get_logger
from services.consumers.core.flights import Flights
from services.consumers.metrics import ActionMetrics

log = get_logger(__name__)

_MARGIN_S: Final = 15.0
"""A consumer that is so late with its state waits for Redis or Kafka."""


class ActionObserver:
    """Observes one consumer process. `interval_s`: seconds between two observations."""

    def __init__(self, handler: str, overview: ActionOverview, metrics: ActionMetrics, *, interval_s: float) -> None:
        self._handler = handler
        self._overview = overview
        self._metrics = metrics
        self._keep_ms = round(1000 * (interval_s + _MARGIN_S))
        self._lag = 0
        self._process = f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"

    async def observe(self, kafka: EventConsumer, marks: Mapping[int, int], flights: Flights, now_s: float) -> None:
        """Measure the lag of each partition after its mark, and record the state of this process in Redis."""
        try:
            ends = await kafka.end_offsets(marks)
        except KafkaUnavailable as error:  # the lag stays what it was
            log.info("lag_not_observed", reason=str(error))
        else:
            lags = {partition: max(0, end - marks[partition]) for partition, end in ends.items()}
            self._metrics.lag.clear()  # removes partitions that moved to other members
            for partition, lag in lags.items():
                self._metrics.lag.labels(self._handler, str(partition)).set(lag)
            self._lag = sum(lags.values())
        state = ConsumerState(
            lag=self._lag,
            waiting=flights.waiting,
            in_flight=flights.in_flight,
            oldest_s=flights.oldest_s(now_s),
            until_ms=clock_ms() + self._keep_ms,
        )
        await self._overview.write_consumer(self._handler, self._process, state)

    async def end(self) -> None:
        """Remove the state of this process."""
        await self._overview.erase_consumer(self._handler, self._process)
