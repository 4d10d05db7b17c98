"""Notifier: reports owed encounters to the notificationserver.

An encounter is owed from the write of its pair until the notificationserver has accepted it. A kill after the request
and before the note sends it again under the same id, on which the notificationserver acts once.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pymongo.errors import PyMongoError

from services.backbone.backoff import Backoff
from services.backbone.clients import (
    MatchNotification,
    NotificationClient,
    NotificationRefused,
    NotificationUnavailable,
    NotifiedObject,
)
from services.backbone.health import Heartbeat
from services.backbone.logs import get_logger
from services.storage.core.matching import decide
from services.storage.core.objects import StoredObject
from services.storage.core.pairs import (
    EncounterReport,
    Judged,
    PairState,
    ReportOutcome,
    is_worth_notifying,
    notification_id,
)
from services.storage.metrics import Metrics
from services.storage.settings import MatcherSettings
from services.storage.store import Database, ObjectStore, PairStore
from services.storage.worker.matcher import clock_ms

log = get_logger(__name__)

_CLAIMED_PAIRS: Final = 64
_CONCURRENT_REQUESTS: Final = 16
_HEARTBEAT_SLACK_S: Final = 60.0


class Notifier:
    """Claims pairs with owed encounters and reports them."""

    def __init__(  # noqa: PLR0913 - the client, and what tests replace
        self,
        database: Database,
        client: NotificationClient,
        settings: MatcherSettings,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int] = clock_ms,
        at_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.heartbeat = Heartbeat(limit_s=settings.match_poll_s + _HEARTBEAT_SLACK_S)
        self.stopping = False
        """Set before `run` is cancelled: the MongoDB client can swallow a cancellation."""
        self._objects = ObjectStore(database)
        self._pairs = PairStore(database)
        self._client = client
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._at_point = at_point
        self._owed = asyncio.Event()

    def wake(self) -> None:
        """Look for owed encounters now."""
        self._owed.set()

    async def run(self) -> None:
        """Report encounters until stopped or cancelled. While a server is not available, it is tried again."""
        backoff = Backoff(longest_s=2.0)
        while not self.stopping:
            self.heartbeat.beat()
            self._owed.clear()
            try:
                found = await self.notify_owed()
            except (PyMongoError, NotificationUnavailable) as error:
                log.warning("notifying_failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            if not found:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._settings.match_poll_s):
                await self._owed.wait()
        except TimeoutError:  # another process may have written encounters and died
            pass

    async def notify_owed(self) -> int:
        """Report the encounters of up to 64 pairs. Return the number of pairs that were claimed.

        Raises NotificationUnavailable after the other pairs are reported or released. Raises PyMongoError.
        """
        token = uuid.uuid4().hex
        lease_ms = round(1000 * self._settings.match_lease_s)
        pairs = await self._pairs.claim_owed(
            limit=_CLAIMED_PAIRS, now_ms=self._now_ms(), lease_ms=lease_ms, token=token
        )
        offers = await self._objects.get_many("offer", {pair.offer_id for pair in pairs})
        searches = await self._objects.get_many("search", {pair.search_id for pair in pairs})
        failures = await self._notify_all(pairs, offers, searches)
        if failures:
            await self._pairs.release_owed([pair.id for pair, _ in failures], token=token)
            raise failures[0][1]
        return len(pairs)

    async def _notify_all(
        self, pairs: Sequence[PairState], offers: Mapping[str, StoredObject], searches: Mapping[str, StoredObject]
    ) -> list[tuple[PairState, NotificationUnavailable]]:
        failures: list[tuple[PairState, NotificationUnavailable]] = []
        places = asyncio.Semaphore(_CONCURRENT_REQUESTS)

        async def notify(pair: PairState) -> None:
            async with places:
                if failures:  # the server does not respond: send it nothing more now
                    failures.append((pair, failures[0][1]))
                    return
                try:
                    await self._notify(pair, offers.get(pair.offer_id), searches.get(pair.search_id))
                except NotificationUnavailable as error:
                    failures.append((pair, error))

        async with asyncio.TaskGroup() as tasks:
            for pair in pairs:
                tasks.create_task(notify(pair))
        return failures

    async def _notify(self, pair: PairState, offer: StoredObject | None, search: StoredObject | None) -> None:
        now_ms = self._now_ms()
        reports: list[EncounterReport] = []
        for encounter in pair.owed_encounters:
            outcome: ReportOutcome = "ended"
            if offer is not None and search is not None and _is_worth(pair, encounter, offer, search, now_ms):
                outcome = await self._send(notification_id(pair.search_id, pair.offer_id, encounter), offer, search)
            else:
                self._metrics.ended.inc()
            reports.append(EncounterReport(encounter, now_ms, outcome))
        await self._pairs.note_notified(pair, reports)

    async def _send(self, name: str, offer: StoredObject, search: StoredObject) -> ReportOutcome:
        outcome: ReportOutcome = "accepted"
        try:
            await self._client.notify(MatchNotification(name, offer=_side(offer), search=_side(search)))
        except NotificationRefused as error:
            log.error("notification_refused", id=name, reason=str(error))  # noqa: TRY400 - the trace adds nothing
            self._metrics.refused.inc()
            outcome = "refused"
        else:
            self._metrics.notified.inc()
        self._at_point("notified")
        return outcome

    async def refresh_metrics(self) -> None:
        """Set the metrics of the owed encounters. Raises PyMongoError."""
        number, age_ms = await self._pairs.owed(now_ms=self._now_ms())
        self._metrics.owed.set(number)
        self._metrics.oldest_owed.set(age_ms / 1000.0)


def _is_worth(pair: PairState, encounter: int, offer: StoredObject, search: StoredObject, now_ms: int) -> bool:
    if pair.is_sent_by_hand(encounter):
        return not offer.is_deleted and not search.is_deleted
    return is_worth_notifying(pair, Judged(offer.side, search.side, decide(offer.side, search.side, now_ms), now_ms))


def _side(stored: StoredObject) -> NotifiedObject:
    fields = stored.fields
    location = fields.location if fields.show_location else stored.public_location
    return NotifiedObject(stored.id, fields.owner, fields.text, location.lat, location.lng, fields.radius_m)
