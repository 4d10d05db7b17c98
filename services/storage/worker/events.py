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
from services.backbone.health import Heartbeat
from services.backbone.logs import get_logger
from services.storage.core.matching import SubjectKind
from services.storage.core.owed_events import BULK_EVENT, EVENT_TYPES, bulk_event_id, event_params
from services.storage.metrics import ApiMetrics
from services.storage.store import Database, ObjectStore
from services.storage.store.owed import OwedBulk, OwedEvents, OwingObject
from services.storage.worker.matcher import clock_ms

log = get_logger(__name__)

_CONCURRENT_OBJECTS: Final = 8
_HEARTBEAT_SLACK_S: Final = 60.0
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
                log.warning("sending_failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            if not found:
                await self._wait()

    async def send_owed(self) -> bool:
        """Send the events of some objects and of one bulk write. Return whether there were any.

        Raises PyMongoError or EventUnavailable. What was not accepted is still owed.
        """
        found = 0
        for kind in _KINDS:
            found += await self._send_kind(kind)
        bulk = await self._owed.claim_bulk(now_ms=self._now_ms(), lease_ms=self._lease_ms)
        if bulk is not None:
            await self._send_bulk(bulk)
        return bool(found or bulk)

    async def refresh_metrics(self) -> None:
        """Set the metrics of the owed events. Raises PyMongoError."""
        number, age_ms = await self._owed.waiting(now_ms=self._now_ms())
        self._metrics.owed_events.set(number)
        self._metrics.oldest_owed_event.set(age_ms / 1000.0)

    async def _send_kind(self, kind: SubjectKind) -> int:
        claimed: list[OwingObject] = []
        while len(claimed) < _CONCURRENT_OBJECTS:
            owing = await self._owed.claim(kind, now_ms=self._now_ms(), lease_ms=self._lease_ms)
            if owing is None:
                break
            claimed.append(owing)
        failures = await asyncio.gather(*map(self._send_object, claimed), return_exceptions=True)
        for failure in failures:
            if failure is not None:
                raise failure
        return len(claimed)

    async def _send_object(self, owing: OwingObject) -> None:
        stored = owing.stored
        try:
            for event in owing.events:
                params = event_params(stored, event.action)
                await self._send(EVENT_TYPES[stored.kind], params, event.id)
                await self._owed.acknowledge(stored.kind, stored.id, event.id)
        finally:
            await self._owed.release(stored.kind, stored.id)
        if stored.is_deleted:
            await self._objects.remove_tombstone(stored.kind, stored.id)

    async def _send_bulk(self, bulk: OwedBulk) -> None:
        await self._send(BULK_EVENT, {"owner": bulk.owner}, bulk_event_id(bulk.owner, bulk.version))
        await self._owed.acknowledge_bulk(bulk)

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
