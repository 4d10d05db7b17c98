"""OwedEventSender: sends the events that notifications owe to the tracker.

An event is owed from the acceptance of its notification until the tracker has accepted it. A kill after the request and
before the acknowledgement sends it again under the same id, by which readers drop the copy.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from services.backbone.clients import EventRefused, EventUnavailable, TrackerClient
from services.backbone.clock import clock_ms
from services.backbone.logs import get_logger
from services.backbone.mongo import Database
from services.notificationserver.metrics import Metrics
from services.notificationserver.settings import DeliverySettings
from services.notificationserver.store import Lease, NotificationStore
from services.notificationserver.store.notifications import OwingNotification
from services.notificationserver.worker.loop import WorkLoop, new_token

log = get_logger(__name__)

_GROUP: Final = 100
_CONCURRENT: Final = 16


class OwedEventSender:
    """Claims notifications that owe an event and sends the events."""

    def __init__(  # noqa: PLR0913 - the settings, and what tests replace
        self,
        database: Database,
        client: TrackerClient,
        settings: DeliverySettings,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int] = clock_ms,
        at_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Send by `client`. Tests stop the process in `at_point`."""
        self.loop = WorkLoop("events", self.send_owed, poll_s=settings.poll_s)
        self._notifications = NotificationStore(database, keep_days=settings.keep_days)
        self._client = client
        self._lease_ms = round(1000 * settings.lease_s)
        self._metrics = metrics
        self._now_ms = now_ms
        self._at_point = at_point

    async def send_owed(self) -> bool:
        """Send the events of up to 100 notifications. Return whether there may be more.

        Raises PyMongoError, and EventUnavailable after the accepted events are acknowledged.
        """
        lease = Lease(self._now_ms(), self._lease_ms, new_token())
        owing = await self._notifications.claim_owed(limit=_GROUP, lease=lease)
        slots = asyncio.Semaphore(_CONCURRENT)
        failures: list[EventUnavailable] = []
        accepted: list[str] = []

        async def send(each: OwingNotification) -> None:
            async with slots:
                if failures:  # the tracker does not respond: send it nothing more now
                    return
                try:
                    await self._send(each)
                except EventUnavailable as error:
                    failures.append(error)
                else:
                    accepted.append(each.id)

        async with asyncio.TaskGroup() as tasks:
            for each in owing:
                tasks.create_task(send(each))
        if accepted:
            self._at_point("events_sent")
            await self._notifications.acknowledge(accepted)
        if failures:
            left = [each.id for each in owing if each.id not in set(accepted)]
            await self._notifications.release_owed(left, lease=lease)
            raise failures[0]
        return len(owing) == _GROUP

    async def refresh_metrics(self) -> None:
        """Set the metrics of the owed events. Raises PyMongoError."""
        number, age_ms = await self._notifications.owing(now_ms=self._now_ms())
        self._metrics.owed_events.set(number)
        self._metrics.oldest_owed_event.set(age_ms / 1000.0)

    async def _send(self, owing: OwingNotification) -> None:
        event = owing.event
        try:
            await self._client.send(event.type, event.params, event_id=event.id)
        except EventRefused as error:
            log.error("event_refused", id=event.id, reason=str(error))  # noqa: TRY400 - the trace adds nothing
            self._metrics.events_refused.inc()
        else:
            self._metrics.events_sent.inc()
