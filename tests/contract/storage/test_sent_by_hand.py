"""Encounters that an operator sends by hand, on a real MongoDB."""

import pytest

from services.backbone.clients import NotificationUnavailable
from services.storage.core.matching import decide
from services.storage.core.objects import delete_object
from services.storage.core.pairs import Judged, send_by_hand
from services.storage.store import Database
from services.storage.store.failing import FIRST_PAUSE_MS
from services.storage.store.histories import PairHistories
from tests.contract.storage.storing import FAR, Clock, Storage, StubNotificationServer, new_object


async def send(storage: Storage, database: Database, clock: Clock) -> None:
    offer, search = await storage.objects.get("offer", "o"), await storage.objects.get("search", "s")
    assert offer is not None
    assert search is not None
    judged = Judged(offer.side, search.side, decide(offer.side, search.side, clock.ms), clock.ms)
    await PairHistories(database).change("s", "o", lambda pair: send_by_hand(pair, judged))


async def test_encounter_sent_by_hand_is_reported_although_the_rule_refuses(
    storage: Storage, database: Database, clock: Clock, notifications: StubNotificationServer
) -> None:
    await storage.objects.insert(new_object("offer", "o", now_ms=clock.ms))
    await storage.objects.insert(new_object("search", "s", now_ms=clock.ms, location=FAR))
    await storage.work()
    await send(storage, database, clock)
    await storage.work()
    clock.ms += 1
    await send(storage, database, clock)
    await storage.work()
    assert notifications.received == {"s.o.1": 1, "s.o.2": 1}
    history = await PairHistories(database).get("s", "o")
    assert history is not None
    assert [(report.encounter, report.outcome) for report in history.reports] == [(1, "accepted"), (2, "accepted")]
    assert (history.pair.is_in, list(history.pair.owed_encounters)) == (False, [])


async def test_encounter_sent_by_hand_waits_for_the_notificationserver(
    storage: Storage, database: Database, clock: Clock, notifications: StubNotificationServer
) -> None:
    await storage.objects.insert(new_object("offer", "o", now_ms=clock.ms))
    await storage.objects.insert(new_object("search", "s", now_ms=clock.ms))
    await storage.work()  # the pair enters: encounter 1
    clock.ms += 60_000
    notifications.status = 503
    await send(storage, database, clock)
    assert await storage.pairs.owed(now_ms=clock.ms) == (1, 0)  # the age counts from the sending
    for _ in range(2):
        with pytest.raises(NotificationUnavailable):
            await storage.notifier.notify_owed()
        clock.ms += FIRST_PAUSE_MS
    notifications.status = 200
    await storage.work()
    assert notifications.received == {"s.o.1": 1, "s.o.2": 1}


async def test_encounter_sent_by_hand_ends_when_an_object_is_deleted_first(
    storage: Storage, database: Database, clock: Clock, notifications: StubNotificationServer
) -> None:
    await storage.objects.insert(new_object("offer", "o", now_ms=clock.ms))
    await storage.objects.insert(new_object("search", "s", now_ms=clock.ms, location=FAR))
    await send(storage, database, clock)
    await storage.change("offer", "o", lambda stored: delete_object(stored, now_ms=clock.ms))
    await storage.work()
    history = await PairHistories(database).get("s", "o")
    assert history is not None
    assert [report.outcome for report in history.reports] == ["ended"]
    assert notifications.received == {}
