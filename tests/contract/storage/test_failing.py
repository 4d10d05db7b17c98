"""Documents and requests that fail: they stop no others, they are counted, and they succeed once the cause is gone."""

import datetime as dt
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bson import ObjectId
from prometheus_client import CollectorRegistry

from services.backbone.clients import EventUnavailable, NotificationClient, NotificationUnavailable, TrackerClient
from services.storage.core.documents import to_document
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import RANK_FAILING
from services.storage.metrics import ApiMetrics
from services.storage.store import Database
from services.storage.store.failing import FIRST_PAUSE_MS, LONGEST_PAUSE_MS
from services.storage.store.owed import create_owed_indexes
from services.storage.worker import EventSender
from tests.contract.storage.api.serving import Tracker
from tests.contract.storage.storing import Clock, Storage, StubNotificationServer, new_object

GRACE_MS = 100
Document = dict[str, Any]

MALFORMED: dict[str, Callable[[Document], Document]] = {
    "no version": lambda document: without(document, "version"),
    "no public location": lambda document: without(document, "public_location"),
    "a text as radius": lambda document: document | {"radiusMeters": "wide"},
    "a radius that is no number": lambda document: document | {"radiusMeters": float("nan")},
    "a date": lambda document: document | {"validfrom": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)},
    "a begin that is no number": lambda document: document | {"validfrom": float("nan")},
    "an end that is infinite": lambda document: document | {"validuntil": float("inf")},
    "an end of more than 64 bits": lambda document: document | {"validuntil": 1e300},
    "a number as owner": lambda document: document | {"owner": 7},
    "an id of another type": lambda document: document | {"_id": ObjectId("0123456789abcdef01234567")},
    "an id with a dot": lambda document: document | {"_id": "a.b"},
}


def without(document: Document, field: str) -> Document:
    return {name: value for name, value in document.items() if name != field}


async def insert(storage: Storage, clock: Clock, *names: str) -> None:
    """Insert offers (o...) and searches (s...) that match each other."""
    for name in names:
        kind: SubjectKind = "offer" if name.startswith("o") else "search"
        await storage.objects.insert(new_object(kind, name, now_ms=clock.ms))
    clock.ms += GRACE_MS


async def refreshed(storage: Storage) -> tuple[float, float]:
    """Return the metrics of the failing objects and encounters."""
    await storage.matcher.refresh_metrics()
    await storage.notifier.refresh_metrics()
    failing = storage.metrics.failing
    return failing.labels("objects")._value.get(), failing.labels("encounters")._value.get()


@pytest.mark.parametrize("form", MALFORMED)
async def test_malformed_object_stops_no_other_and_matches_once_it_is_corrected(
    database: Database, storage: Storage, notifications: StubNotificationServer, clock: Clock, form: str
) -> None:
    right = to_document(new_object("offer", "o0", now_ms=clock.ms))
    wrong = MALFORMED[form](right)
    await database["offers"].insert_one(wrong)
    clock.ms += 1
    await insert(storage, clock, "o1", "s1")
    await storage.work()
    assert notifications.received == {"s1.o1.1": 1}
    assert (await refreshed(storage))[0] == 1
    assert storage.metrics.due._value.get() == 0, "the age of a malformed object hides no other age"
    assert not await storage.matcher.match_due((RANK_FAILING,)), "it is tried again after a pause only"
    await database["offers"].delete_one({"_id": wrong["_id"]})
    await database["offers"].insert_one(right | {"due_rank": RANK_FAILING})
    clock.ms += LONGEST_PAUSE_MS
    assert await storage.matcher.match_due((RANK_FAILING,))
    await storage.work()
    await storage.notifier.notify_owed(failing=True)  # a match that the search found before
    assert notifications.received == {"s1.o1.1": 1, "s1.o0.1": 1}
    assert await refreshed(storage) == (0, 0)


@pytest.mark.parametrize("form", MALFORMED)
async def test_malformed_candidate_hides_no_other_and_is_counted(
    database: Database, storage: Storage, notifications: StubNotificationServer, clock: Clock, form: str
) -> None:
    await insert(storage, clock, "s1")
    malformed = MALFORMED[form](without(to_document(new_object("search", "s0", now_ms=clock.ms)), "due_at"))
    await database["searches"].insert_one(malformed)
    await insert(storage, clock, "o1")
    await storage.work()
    assert "s1.o1.1" in notifications.received
    if form not in ("no public location", "a date"):  # these are no fields for the rule, or are checked by the index
        assert set(notifications.received) == {"s1.o1.1"}
        assert await refreshed(storage) == (1, 0)


async def test_malformed_pair_stops_no_other(
    database: Database, storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await database["pairs"].insert_one({"_id": "s1.o1", "in": True, "search": "s1", "offer": "o1"})
    await database["pairs"].insert_one({"_id": "x", "in": True, "owed_at": 1, "owed_rank": 0})
    await insert(storage, clock, "o1", "s1", "s2")
    await storage.work()
    assert notifications.received == {"s2.o1.1": 1}
    assert await refreshed(storage) == (0, 2)


async def test_encounters_that_always_fail_stop_no_others(
    database: Database, notifications: StubNotificationServer, clock: Clock
) -> None:
    async with NotificationClient(notifications.url, attempts=1) as client:
        await assert_others_are_reported(Storage(database, client, now_ms=clock), notifications, clock)


async def assert_others_are_reported(storage: Storage, notifications: StubNotificationServer, clock: Clock) -> None:
    failing = [f"s{number}" for number in range(40)]
    await insert(storage, clock, "o1", *failing)
    while await storage.matcher.match_due():
        pass
    notifications.statuses = {f"{name}.o1.1": 500 for name in failing}
    with pytest.raises(NotificationUnavailable):  # none succeeds, so the server seems to be down
        await storage.notifier.notify_owed()
    await insert(storage, clock, "s50", "s51")
    while await storage.matcher.match_due():
        pass
    for _ in range(4):
        clock.ms += FIRST_PAUSE_MS
        try:
            await storage.notifier.notify_owed()
        except NotificationUnavailable:
            continue
    assert notifications.received == {"s50.o1.1": 1, "s51.o1.1": 1}
    assert (await refreshed(storage))[1] > 0
    notifications.statuses = {}
    clock.ms += LONGEST_PAUSE_MS
    while await storage.notifier.notify_owed() + await storage.notifier.notify_owed(failing=True):
        pass
    assert notifications.received == {f"{name}.o1.1": 1 for name in (*failing, "s50", "s51")}
    assert await refreshed(storage) == (0, 0)


async def test_encounter_without_a_response_delays_no_others(
    database: Database, notifications: StubNotificationServer, clock: Clock
) -> None:
    async with NotificationClient(notifications.url, attempts=1, timeout_s=0.2) as client:
        storage = Storage(database, client, now_ms=clock)
        notifications.statuses = {"s1.o1.1": 0}
        await insert(storage, clock, "o1", "s1", "s2")
        await storage.work()
        assert notifications.received == {"s2.o1.1": 1}
        assert await refreshed(storage) == (0, 1)


async def test_wrong_password_leaves_all_encounters_owed(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert(storage, clock, "o1", "s1", "s2")
    notifications.status = 401
    while await storage.matcher.match_due():
        pass
    clock.ms += 5000
    with pytest.raises(NotificationUnavailable, match="status 401"):
        await storage.notifier.notify_owed()
    assert await refreshed(storage) == (0, 0)
    assert storage.metrics.owed._value.get() == 2
    assert storage.metrics.oldest_owed._value.get() >= 5
    notifications.status = 200
    clock.ms += FIRST_PAUSE_MS
    await storage.notifier.notify_owed()
    assert notifications.received == {"s1.o1.1": 1, "s2.o1.1": 1}


@pytest.fixture
async def tracker() -> AsyncIterator[Tracker]:
    stub = Tracker()
    async with stub.listening():
        yield stub


@pytest.fixture
async def sender(database: Database, tracker: Tracker, clock: Clock) -> AsyncIterator[EventSender]:
    await create_owed_indexes(database)
    async with TrackerClient(f"http://127.0.0.1:{tracker.port}", attempts=1) as client:
        yield EventSender(database, client, ApiMetrics(CollectorRegistry()), lease_s=30.0, poll_s=0.1, now_ms=clock)


async def test_events_that_always_fail_stop_no_others(
    storage: Storage, sender: EventSender, tracker: Tracker, database: Database, clock: Clock
) -> None:
    for number in range(20):
        await storage.objects.insert(new_object("offer", f"o{number}", now_ms=clock.ms + number), event="create")
    await database["offers"].insert_one({"_id": "malformed", "modified": 1, "owed": [{"id": "x"}]})
    tracker.statuses = {f"o{number}.1.create": 500 for number in range(20)}
    for _ in range(4):
        clock.ms += FIRST_PAUSE_MS
        try:
            await sender.send_owed()
        except EventUnavailable:
            continue
    await storage.objects.insert(new_object("offer", "o50", now_ms=clock.ms), event="create")
    await storage.objects.insert(new_object("search", "s50", now_ms=clock.ms), event="create")
    await sender.send_owed()
    assert set(tracker.ids) == {"o50.1.create", "s50.1.create"}
    await sender.refresh_metrics()
    assert sender._metrics.failing_events._value.get() > 1
    tracker.statuses = {}
    clock.ms += LONGEST_PAUSE_MS
    while await sender.send_owed():
        pass
    assert set(tracker.ids) == {"o50.1.create", "s50.1.create", *(f"o{number}.1.create" for number in range(20))}
    await sender.refresh_metrics()
    assert sender._metrics.failing_events._value.get() == 1, "the malformed one"


async def test_tombstone_without_due_work_is_removed(sender: EventSender, database: Database) -> None:
    deleted = to_document(new_object("offer", "o")) | {"deleted": {"active": True}}
    await database["offers"].insert_many(
        [without(deleted, "due_at"), deleted | {"_id": "due"}, without(deleted, "due_at") | {"_id": "x", "owed": []}]
    )
    await sender.send_owed()
    assert [each["_id"] async for each in database["offers"].find()] == ["due"]
