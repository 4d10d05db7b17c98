"""The life of pairs: entering, staying, leaving, expiring, deleting. The clock belongs to the test."""

from typing import Any

import msgspec
import pytest

from services.backbone.clients import NotificationClient, NotificationUnavailable
from services.storage.core.movement import Fix
from services.storage.core.objects import StoredObject, change_object, delete_object, move_object
from services.storage.core.sphere import GeoPoint
from services.storage.settings import MatcherSettings
from services.storage.store import Database
from services.storage.store.failing import FIRST_PAUSE_MS
from tests.contract.storage.storing import BERLIN, FAR, UNIT, Clock, Storage, StubNotificationServer, new_object

OUTSIDE = GeoPoint(13.4, 52.51)  # 1,113 m away
GRACE_MS = 100


async def insert_pair(storage: Storage, clock: Clock, **offer: Any) -> None:
    await storage.objects.insert(new_object("offer", "o", now_ms=clock.ms, **offer))
    await storage.objects.insert(new_object("search", "s", now_ms=clock.ms))
    clock.ms += GRACE_MS


async def edit(storage: Storage, clock: Clock, kind: str, **changes: object) -> None:
    name = kind[0]

    def change(stored: StoredObject) -> StoredObject:
        fields = msgspec.structs.replace(stored.fields, **changes)
        return change_object(stored, fields, now_ms=clock.ms, random_unit=UNIT)

    await storage.change("offer" if name == "o" else "search", name, change)
    clock.ms += GRACE_MS


async def move(storage: Storage, clock: Clock, location: GeoPoint) -> None:
    fix = Fix(clock.ms, location, 10.0)
    await storage.change(
        "search", "s", lambda stored: move_object(stored, fix, exact=True, now_ms=clock.ms, random_unit=UNIT)
    )
    clock.ms += GRACE_MS


async def is_in(storage: Storage) -> bool:
    return (await storage.pairs.get(["s.o"]))["s.o"].is_in


async def test_match_is_reported_once_when_both_sides_find_it(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert_pair(storage, clock)
    await storage.work()
    await storage.work()
    assert notifications.received == {"s.o.1": 1}
    assert await is_in(storage)


async def test_nothing_is_matched_before_the_grace(
    database: Database, client: NotificationClient, notifications: StubNotificationServer, clock: Clock
) -> None:
    storage = Storage(database, client, settings=MatcherSettings.from_env({}), now_ms=clock)
    await storage.objects.insert(new_object("offer", "o", now_ms=clock.ms))
    await storage.objects.insert(new_object("search", "s", now_ms=clock.ms))
    clock.ms += 4999
    await storage.work()
    assert not notifications.bodies
    clock.ms += 1
    await storage.work()
    assert notifications.received == {"s.o.1": 1}


async def test_event_matches_an_object_before_the_grace(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await storage.objects.insert(new_object("offer", "o", now_ms=clock.ms))
    await storage.objects.insert(new_object("search", "s", now_ms=clock.ms))
    assert await storage.matcher.match_now("offer", "o") == "finished"
    assert await storage.matcher.match_now("offer", "unknown") is None
    await storage.notifier.notify_owed()
    assert notifications.received == {"s.o.1": 1}


async def test_edits_and_replays_begin_no_encounter(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert_pair(storage, clock)
    await storage.work()
    await edit(storage, clock, "offer", text="another title")
    await edit(storage, clock, "search", radius_m=700.0)
    await storage.work()
    await storage.matcher.match_now("search", "s")
    await storage.work()
    assert notifications.received == {"s.o.1": 1}


async def test_edit_ends_a_pair_and_a_return_is_reported(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert_pair(storage, clock)
    await storage.work()
    await edit(storage, clock, "search", location=FAR)
    await storage.work()
    assert not await is_in(storage)
    await edit(storage, clock, "search", location=BERLIN)
    await storage.work()
    assert notifications.received == {"s.o.1": 1, "s.o.2": 1}


@pytest.mark.parametrize("changes", [{"is_active": False}, {"keywords": ("tea",)}, {"owner": "owner-of-search"}])
async def test_edit_of_another_kind_ends_a_pair(storage: Storage, clock: Clock, changes: dict[str, object]) -> None:
    await insert_pair(storage, clock)
    await storage.work()
    await edit(storage, clock, "offer", **changes)
    await storage.work()
    assert not await is_in(storage)


async def test_future_offer_is_reported_when_it_becomes_valid(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert_pair(storage, clock, valid_from_ms=clock.ms + 5000)
    await storage.work()
    clock.ms += 4800
    await storage.work()
    assert not notifications.bodies
    clock.ms += 300
    await storage.work()
    assert notifications.received == {"s.o.1": 1}


async def test_future_offer_is_reported_after_its_begin_and_the_grace(
    database: Database, client: NotificationClient, notifications: StubNotificationServer, clock: Clock
) -> None:
    storage = Storage(database, client, settings=MatcherSettings.from_env({"MATCH_GRACE_S": "5"}), now_ms=clock)
    begin_ms = clock.ms
    await storage.objects.insert(new_object("search", "s", now_ms=clock.ms))
    await storage.objects.insert(new_object("offer", "o", now_ms=clock.ms, valid_from_ms=begin_ms + 5000))
    expired = {"valid_from_ms": begin_ms + 5000, "valid_until_ms": begin_ms + 9000}
    await storage.objects.insert(new_object("offer", "expired", now_ms=clock.ms, **expired))
    # The events of the changes: all are matched at once, and nothing is valid yet.
    assert await storage.matcher.match_now("search", "s") == "finished"
    for offer in ("o", "expired"):
        assert await storage.matcher.match_now("offer", offer) == "finished"
    for clock.ms in (begin_ms + 4999, begin_ms + 5000, begin_ms + 9999):
        await storage.work()
        assert not notifications.bodies
    clock.ms = begin_ms + 10_000
    await storage.work()
    assert notifications.received == {"s.o.1": 1}
    clock.ms += 60_000
    await storage.work()
    assert notifications.received == {"s.o.1": 1}


async def test_offer_that_expired_before_its_matching_is_never_reported(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert_pair(storage, clock, valid_until_ms=clock.ms + 50)
    await storage.work()
    assert not notifications.bodies


async def test_offer_that_expired_before_its_notification_is_never_reported(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert_pair(storage, clock, valid_until_ms=clock.ms + 500)
    while await storage.matcher.match_due():
        pass
    clock.ms += 500
    await storage.work()
    assert not notifications.bodies
    assert await storage.pairs.owed(now_ms=clock.ms) == (0, 0)


async def test_expiry_ends_a_pair(storage: Storage, clock: Clock) -> None:
    await insert_pair(storage, clock, valid_until_ms=clock.ms + 5000)
    await storage.work()
    assert await is_in(storage)
    clock.ms += 6000
    await storage.work()
    assert not await is_in(storage)


async def test_deleted_object_ends_its_pairs_and_its_tombstone_waits_for_its_events(
    storage: Storage, database: Database, clock: Clock
) -> None:
    await insert_pair(storage, clock)
    await storage.work()

    def delete(stored: StoredObject) -> StoredObject:
        return delete_object(stored, now_ms=clock.ms)

    assert await storage.objects.change("offer", "o", delete, event="delete")
    clock.ms += GRACE_MS
    await storage.work()
    assert not await is_in(storage)
    document = await database["offers"].find_one({"_id": "o"})
    assert document is not None
    assert document["owed"] == [{"id": "o.2.delete", "action": "delete", "version": 2}]
    await database["offers"].update_one({"_id": "o"}, {"$set": {"owed": []}})
    assert await storage.objects.remove_tombstones() == 1
    assert await storage.objects.get("offer", "o") is None


async def test_device_that_leaves_and_returns_is_reported_twice(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert_pair(storage, clock)
    await storage.work()
    for _ in range(3):
        await move(storage, clock, OUTSIDE)
        await storage.work()
        clock.ms += 70_000
    stored = await storage.objects.get("search", "s")
    assert stored is not None
    assert not stored.is_leaving
    assert not await is_in(storage)
    await move(storage, clock, BERLIN)
    await storage.work()
    assert notifications.received == {"s.o.1": 1, "s.o.2": 1}


async def test_device_with_one_fix_outside_stays_in(storage: Storage, clock: Clock) -> None:
    await insert_pair(storage, clock)
    await storage.work()
    await move(storage, clock, OUTSIDE)
    await storage.work()
    assert await is_in(storage)
    stored = await storage.objects.get("search", "s")
    assert stored is not None
    assert stored.is_leaving
    assert stored.matched_location == OUTSIDE


async def test_notification_has_the_public_location_unless_the_owner_shows_it(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert_pair(storage, clock, show_location=True)
    await storage.work()
    (body,) = notifications.bodies
    search = await storage.objects.get("search", "s")
    assert search is not None
    assert (body["search"]["lng"], body["search"]["lat"]) == search.public_location != BERLIN
    assert (body["offer"]["lng"], body["offer"]["lat"]) == BERLIN
    assert body["category"] == "match_found"
    assert body["offer"]["device_id"] == "owner-of-offer"


async def test_encounters_stay_owed_while_the_notificationserver_is_down(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert_pair(storage, clock)
    notifications.status = 503
    while await storage.matcher.match_due():
        pass
    with pytest.raises(NotificationUnavailable, match="status 503"):
        await storage.notifier.notify_owed()
    notifications.status = 200
    clock.ms += FIRST_PAUSE_MS
    assert await storage.notifier.notify_owed() == 1
    assert notifications.received == {"s.o.1": 1}


async def test_rejected_notification_is_not_sent_again(
    storage: Storage, notifications: StubNotificationServer, clock: Clock
) -> None:
    await insert_pair(storage, clock)
    notifications.status = 422
    await storage.work()
    notifications.status = 200
    await storage.work()
    assert not notifications.bodies
    assert storage.metrics.refused._value.get() == 1
