"""EventSender: sends the events that changes owe to the tracker.

An event is owed from the write of its change until the tracker has accepted it. A kill after the request and before the
acknowledgement sends it again under the same id, by which readers drop the copy.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from pymongo.errors import PyMongoError

from services.backbone.backoff import Backoff
from services.backbone.clients import EventRefused, EventUnavailable, TrackerClient
from services.backbone.clock import clock_ms
from services.backbone.health import Heartbeat
from services.backbone.logs import get_logger
from services.storage.core.document_forms import MalformedDocument
from services.storage.core.matching import SubjectKind
from services.storage.core.owed_events import BULK_EVENT, EVENT_TYPES, bulk_event_id, event_params
from services.storage.metrics import ApiMetrics
from services.storage.store import Database, ObjectStore
from services.storage.store.failing import FIRST_PAUSE_MS, LONGEST_PAUSE_MS
from services.storage.store.owed import OwedBulk, OwedEvents, OwingObject
from services.storage.worker.failures import FirstFailures
from services.storage.worker.rounds import work_on_all

log = get_logger(__name__)

_CONCURRENT_OBJECTS: Final = 8
_HEARTBEAT_SLACK_S: Final = 60.0
_SWEEP_MS: Final = 1_000
_KINDS: Final[tuple[SubjectKind, ...]] = ("offer", "search")


class EventSender:
    """Claims objects that owe events and sends the events, in the order of the changes of each object."""

    def __init__(  # noqa: PLR0913 - the client, the times, and what tests replace
        self,
        database: Database,
        client: TrackerClient,
        metrics: ApiMetrics,
        *,
        lease_s: float,
        poll_s: float,
        now_ms: Callable[[], int] = clock_ms,
        at_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Wait at most `poll_s` between two looks for events. Tests stop the process in `at_point`."""
        self.heartbeat = Heartbeat(limit_s=poll_s + lease_s + _HEARTBEAT_SLACK_S)
        self.stopping = False
        """Set before `run` is cancelled: the MongoDB client can swallow a cancellation."""
        self._objects = ObjectStore(database)
        self._owed = OwedEvents(database)
        self._client = client
        self._metrics = metrics
        self._lease_ms = round(1000 * lease_s)
        self._poll_s = poll_s
        self._now_ms = now_ms
        self._at_point = at_point
        self._changed = asyncio.Event()
        self._failures = FirstFailures("events_fail")
        self._swept_ms = 0

    def wake(self) -> None:
        """Look for owed events now."""
        self._changed.set()

    async def run(self) -> None:
        """Send events until stopped or cancelled. While a server is not available, it is tried again."""
        backoff = Backoff(longest_s=2.0)
        while not self.stopping:
            self.heartbeat.beat()
            self._changed.clear()
            try:
                found = await self.send_owed()
            except (PyMongoError, EventUnavailable) as error:
                if not backoff.failures:
                    log.warning("sending_failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            if not found:
                await self._wait()

    async def send_owed(self) -> bool:
        """Send the events of some objects and of one bulk write. Return whether there were any.

        Then remove the deleted objects whose events are out. Raises PyMongoError, or EventUnavailable if the tracker
        seems to be down. What was not accepted is still owed.
        """
        owing: list[OwingObject | OwedBulk] = []
        for kind in _KINDS:
            owing += await self._claim(kind)
        bulk = await self._owed.claim_bulk(now_ms=self._now_ms(), lease_ms=self._lease_ms)
        if bulk is not None:
            owing.append(bulk)
        done = await work_on_all(owing, self._send_events, concurrent=len(_KINDS) * _CONCURRENT_OBJECTS)
        for untried in done.untried:
            await self._retry(untried, self._now_ms())
        down: list[EventUnavailable] = []
        for each, cause in done.failures:
            if isinstance(cause, EventUnavailable) and not done.server_responds:
                down.append(cause)
                await self._retry(each, self._now_ms() + FIRST_PAUSE_MS)  # others are tried next
            else:
                await self._postpone(each, cause)
        if down:
            raise down[0]
        await self._remove_tombstones()
        return bool(owing)

    async def _remove_tombstones(self) -> None:
        now_ms = self._now_ms()
        if now_ms >= self._swept_ms + _SWEEP_MS:
            self._swept_ms = now_ms
            await self._objects.remove_tombstones()

    async def refresh_metrics(self) -> None:
        """Set the metrics of the owed events. Raises PyMongoError."""
        number, age_ms = await self._owed.waiting(now_ms=self._now_ms())
        self._metrics.owed_events.set(number)
        self._metrics.oldest_owed_event.set(age_ms / 1000.0)
        self._metrics.failing_events.set(await self._owed.failing())

    async def _claim(self, kind: SubjectKind) -> list[OwingObject]:
        claimed: list[OwingObject] = []
        for _ in range(_CONCURRENT_OBJECTS):
            try:
                owing = await self._owed.claim(kind, now_ms=self._now_ms(), lease_ms=self._lease_ms)
            except MalformedDocument as error:
                self._failures.report(str(error).partition(":")[0], error)
                continue
            if owing is None:
                break
            claimed.append(owing)
        return claimed

    async def _send_events(self, owing: OwingObject | OwedBulk) -> bool:
        if isinstance(owing, OwedBulk):
            await self._send(BULK_EVENT, {"owner": owing.owner}, bulk_event_id(owing.owner, owing.version))
            await self._owed.acknowledge_bulk(owing, now_ms=self._now_ms())
            return True
        stored = owing.stored
        for event in owing.events:
            await self._send(EVENT_TYPES[stored.kind], event_params(stored, event.action), event.id)
            await self._owed.acknowledge(stored.kind, stored.id, event.id)
        await self._owed.release(stored.kind, stored.id)
        return True

    async def _retry(self, owing: OwingObject | OwedBulk, from_ms: int) -> None:
        if isinstance(owing, OwedBulk):
            await self._owed.release_bulk(owing, from_ms)
        else:
            await self._owed.retry(owing.stored.kind, owing.stored.id, from_ms=from_ms)

    async def _postpone(self, owing: OwingObject | OwedBulk, cause: Exception) -> None:
        if isinstance(owing, OwedBulk):
            self._failures.report(bulk_event_id(owing.owner, owing.version), cause)
            await self._owed.release_bulk(owing, self._now_ms() + LONGEST_PAUSE_MS)
        else:
            self._failures.report(owing.stored.id, cause)
            await self._owed.postpone(owing.stored.kind, owing.stored.id, now_ms=self._now_ms())

    async def _send(self, event_type: str, params: dict[str, str], event_id: str) -> None:
        try:
            await self._client.send(event_type, params, event_id=event_id)
        except EventRefused as error:
            # It would block the later events of its object for ever.
            log.error("event_refused", id=event_id, reason=str(error))  # noqa: TRY400 - the trace adds nothing
            self._metrics.events_refused.inc()
        else:
            self._metrics.events_sent.inc()
        self._at_point("sent")

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._changed.wait()
        except TimeoutError:
            pass
