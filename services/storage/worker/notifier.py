"""Notifier: reports owed encounters to the notificationserver.

An encounter is owed from the write of its pair until the notificationserver has accepted it. A kill after the request
and before the note sends it again under the same id, on which the notificationserver acts once.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from pymongo.errors import PyMongoError

from services.backbone.backoff import Backoff
from services.backbone.clients import (
    MatchNotification,
    NotificationClient,
    NotificationRefused,
    NotificationUnavailable,
    NotifiedObject,
)
from services.backbone.clock import clock_ms
from services.backbone.health import Heartbeat
from services.backbone.logs import get_logger
from services.storage.core.document_forms import MalformedDocument
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
from services.storage.store import Database, DueObjects, ObjectStore, PairStore
from services.storage.worker.failures import FirstFailures
from services.storage.worker.rounds import work_on_all

log = get_logger(__name__)

_CLAIMED_PAIRS: Final = 64
_CONCURRENT_REQUESTS: Final = 16
_HEARTBEAT_SLACK_S: Final = 60.0
_MATCHER_PAUSE_MS: Final = 500


class _Owing(NamedTuple):
    """A pair with owed encounters, and its objects. None: it was removed, or cannot be read."""

    pair: PairState
    offer: StoredObject | None
    search: StoredObject | None


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
        self._due = DueObjects(database)
        self._client = client
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._at_point = at_point
        self._owed = asyncio.Event()
        self._failures = FirstFailures("encounter_fails")

    def wake(self) -> None:
        """Look for owed encounters now."""
        self._owed.set()

    async def run(self) -> None:
        """Report encounters until stopped or cancelled. While a server is not available, it is tried again.

        Pairs that fail while others are reported have a loop of their own, so that they delay no other one.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run(failing=False))
            tasks.create_task(self._run(failing=True))

    async def _run(self, *, failing: bool) -> None:
        backoff = Backoff(longest_s=2.0)
        while not self.stopping:
            self.heartbeat.beat()
            if not failing:
                self._owed.clear()
            try:
                found = await self.notify_owed(failing=failing)
            except (PyMongoError, NotificationUnavailable) as error:
                if not backoff.failures:
                    log.warning("notifying_failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            if failing:
                await asyncio.sleep(self._settings.match_poll_s)
            elif not found:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._settings.match_poll_s):
                await self._owed.wait()
        except TimeoutError:  # another process may have written encounters and died
            pass

    async def notify_owed(self, *, failing: bool = False) -> int:
        """Report the encounters of up to 64 pairs. Return the number of pairs that were claimed.

        `failing`: of pairs that failed before while others were reported. Raises NotificationUnavailable if the
        notificationserver seems to be down; then all claimed pairs are released. Raises PyMongoError.
        """
        token = uuid.uuid4().hex
        lease_ms = round(1000 * self._settings.match_lease_s)
        pairs, malformed = await self._pairs.claim_owed(
            limit=_CLAIMED_PAIRS, now_ms=self._now_ms(), lease_ms=lease_ms, token=token, failing=failing
        )
        for name, error in malformed:
            self._failures.report(name, error)
        owing = await self._read_objects(pairs)
        done = await work_on_all(owing, partial(self._notify, token), concurrent=_CONCURRENT_REQUESTS)
        await self._pairs.release_owed([each.pair.id for each in done.untried], token=token)
        is_down = not (done.server_responds or failing)
        # Pairs that failed alone go behind all others. If the server is down, others are tried next.
        alone: list[str] = []
        down: list[str] = []
        for each, cause in done.failures:
            if is_down and isinstance(cause, NotificationUnavailable):
                down.append(each.pair.id)
            else:
                alone.append(each.pair.id)
                self._failures.report(each.pair.id, cause)
        now_ms = self._now_ms()
        await self._pairs.postpone_owed(alone, token=token, now_ms=now_ms)
        if down:
            await self._pairs.retry_owed(down, token=token, now_ms=now_ms)
            raise NotificationUnavailable(next(str(cause) for each, cause in done.failures if each.pair.id in down))
        return len(pairs) + len(malformed)

    async def _read_objects(self, pairs: Sequence[PairState]) -> list[_Owing]:
        offers = await self._objects.get_many("offer", {pair.offer_id for pair in pairs})
        searches = await self._objects.get_many("search", {pair.search_id for pair in pairs})
        return [_Owing(pair, offers.get(pair.offer_id), searches.get(pair.search_id)) for pair in pairs]

    async def _notify(self, token: str, owing: _Owing) -> bool:
        """Report the encounters of a pair, or note that they have ended. Return whether the server has responded."""
        pair, offer, search = owing
        now_ms = self._now_ms()
        if offer is None or search is None:
            await self._check_removed(pair)
        elif pair.is_in and not _is_worth(pair, pair.encounter, offer, search, now_ms):
            # A change has ended the pair, and it is due. It may also match again after the next change, and that would
            # be the same encounter. So the matcher decides, and this encounter waits for it. The object is not due if
            # the process that wrote the pair was killed before it read the versions again (see PairWriter).
            await self._due.require("search", search.id, now_ms=now_ms)
            await self._pairs.release_owed([pair.id], token=token, until_ms=now_ms + _MATCHER_PAUSE_MS)
            return False
        reports: list[EncounterReport] = []
        for encounter in pair.owed_encounters:
            outcome: ReportOutcome = "ended"
            if offer is not None and search is not None and _is_worth(pair, encounter, offer, search, now_ms):
                outcome = await self._send(notification_id(pair.search_id, pair.offer_id, encounter), offer, search)
            else:
                self._metrics.ended.inc()
            reports.append(EncounterReport(encounter, now_ms, outcome))
        await self._pairs.note_notified(pair, reports)
        return any(report.outcome != "ended" for report in reports)

    async def _check_removed(self, pair: PairState) -> None:
        """Raise MalformedDocument if an object of the pair exists and cannot be read."""
        offers = await self._objects.versions("offer", [pair.offer_id])
        searches = await self._objects.versions("search", [pair.search_id])
        if offers and searches:
            raise MalformedDocument("an object of this pair is malformed")

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
        self._metrics.failing.labels("encounters").set(await self._pairs.failing())


def _is_worth(pair: PairState, encounter: int, offer: StoredObject, search: StoredObject, now_ms: int) -> bool:
    if pair.is_sent_by_hand(encounter):
        return not offer.is_deleted and not search.is_deleted
    return is_worth_notifying(pair, Judged(offer.side, search.side, decide(offer.side, search.side, now_ms), now_ms))


def _side(stored: StoredObject) -> NotifiedObject:
    fields = stored.fields
    location = fields.location if fields.show_location else stored.public_location
    return NotifiedObject(stored.id, fields.owner, fields.text, location.lat, location.lng, fields.radius_m)
