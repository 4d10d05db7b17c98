"""Several matchers, changes during a decision, and large fan-outs."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pymongo import MongoClient

from deploy.develop.localstack.mongo import MongoServer
from services.backbone.clients import NotificationClient
from services.storage.core.documents import to_document
from services.storage.core.objects import RANK_FAN_OUT, RANK_IMPORT, StoredObject, change_object, delete_object
from services.storage.core.pairs import EncounterReport
from services.storage.core.sphere import GeoPoint
from services.storage.store import Database, DueObjects
from tests.contract.storage.storing import BERLIN, FAR, UNIT, Clock, Storage, StubNotificationServer, new_object


def sync_client(server: MongoServer) -> MongoClient[dict[str, Any]]:
    return MongoClient(server.url)


async def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the condition is in another process
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("point", ["decided", "pairs_written"])
async def test_pair_ends_out_when_one_side_moves_away_during_the_decision(
    mongo_server: MongoServer,
    database: Database,
    client: NotificationClient,
    notifications: StubNotificationServer,
    point: str,
) -> None:
    offer, search = new_object("offer", "o"), new_object("search", "s")
    fields = msgspec.structs.replace(search.fields, location=FAR)
    away = change_object(search, fields, now_ms=search.created_ms, random_unit=UNIT)

    def move_away(name: str) -> None:
        """Write the new version as another process does whose matcher has finished already: nothing is due."""
        if name == point:
            with sync_client(mongo_server) as other:
                moved = to_document(msgspec.structs.replace(away, due_at_ms=None))
                other[database.name]["searches"].replace_one({"_id": "s"}, moved)

    storage = Storage(database, client, at_point=move_away)
    await storage.objects.insert(offer)
    await storage.objects.insert(search)
    assert await storage.matcher.match_now("offer", "o") == "finished"
    assert not (await storage.pairs.get(["s.o"]))["s.o"].is_in
    await storage.notifier.notify_owed()
    assert not notifications.bodies


async def test_mark_stays_when_the_object_changes_during_its_matching(
    mongo_server: MongoServer, database: Database, client: NotificationClient
) -> None:
    offer = new_object("offer", "o")

    def edit(name: str) -> None:
        if name == "before_finish":
            changed = change_object(
                offer,
                msgspec.structs.replace(offer.fields, radius_m=900.0),
                now_ms=offer.created_ms,
                random_unit=UNIT,
            )
            with sync_client(mongo_server) as other:
                update = {"$set": {"version": 2, "edited": 2, "radiusMeters": 900.0, "due_at": changed.due_at_ms}}
                other[database.name]["offers"].update_one({"_id": "o", "version": 1}, update)

    storage = Storage(database, client, at_point=edit)
    await storage.objects.insert(offer)
    assert await storage.matcher.match_now("offer", "o") == "changed"
    assert await storage.matcher.match_due(), "the new version is due, and its lease has ended"
    assert not await storage.matcher.match_due()


async def test_change_is_due_when_the_matching_of_the_version_before_ends_after_its_read(
    storage: Storage,
) -> None:
    offer = new_object("offer", "o")
    await storage.objects.insert(offer)
    fields = msgspec.structs.replace(offer.fields, radius_m=900.0)
    changed = change_object(offer, fields, now_ms=offer.created_ms + 10, random_unit=UNIT)
    assert await storage.matcher.match_now("offer", "o") == "finished"
    assert await storage.objects.replace(offer, changed)
    stored = await storage.objects.get("offer", "o")
    assert stored is not None
    assert stored.due_at_ms == offer.created_ms


async def test_pair_of_a_process_that_was_killed_before_its_second_look_ends(
    database: Database, client: NotificationClient, notifications: StubNotificationServer
) -> None:
    storage = Storage(database, client)
    await storage.objects.insert(new_object("offer", "o"))
    await storage.objects.insert(new_object("search", "s"))
    assert await storage.matcher.match_now("offer", "o") == "finished"
    await storage.matcher.match_now("search", "s")
    # As if the search had moved, and was matched, before the pair was written.
    moved = to_document(new_object("search", "s", location=FAR))["location"]
    update: dict[str, Any] = {"$set": {"version": 2, "edited": 2, "location": moved}}
    await database["searches"].update_one({"_id": "s", "due_at": {"$exists": False}}, update)
    assert not await storage.matcher.match_due()
    await storage.notifier.notify_owed()
    await asyncio.sleep(0.1)  # longer than the grace
    while await storage.matcher.match_due():
        pass
    assert not (await storage.pairs.get(["s.o"]))["s.o"].is_in
    async with asyncio.timeout(10):
        while (await storage.pairs.owed(now_ms=2**40))[0]:
            await storage.notifier.notify_owed()
            await asyncio.sleep(0.05)
    assert not notifications.bodies


async def test_end_of_many_pairs_continues_behind_single_changes(database: Database, storage: Storage) -> None:
    await storage.objects.insert(new_object("offer", "o", now_ms=0))
    searches = [new_object("search", f"s{each}", now_ms=0) for each in range(1200)]
    await storage.objects.insert_many("search", [msgspec.structs.replace(each, due_at_ms=None) for each in searches])
    assert await storage.matcher.match_due()
    assert await database["pairs"].count_documents({"in": True}) == 1200
    await storage.change("offer", "o", lambda offer: delete_object(offer, now_ms=1))
    assert await storage.matcher.match_now("offer", "o") == "interrupted"
    assert await database["pairs"].count_documents({"in": True}) == 700
    document = await database["offers"].find_one({"_id": "o"})
    assert document is not None
    assert document["due_rank"] == RANK_FAN_OUT
    assert await storage.matcher.match_due()
    assert not await storage.matcher.match_due()
    assert await database["pairs"].count_documents({"in": True}) == 0


async def test_interrupted_fan_out_continues_and_repeats_no_encounter(
    database: Database, client: NotificationClient
) -> None:
    storage = Storage(database, client)
    await storage.objects.insert_many(
        "search",
        (new_object("search", f"s{n}", radius_m=[90.0, 900.0][n % 2]) for n in range(1600)),
    )
    await storage.objects.insert(new_object("offer", "o"))
    assert await storage.matcher.match_now("offer", "o") == "interrupted"
    offer = await storage.objects.get("offer", "o")
    assert offer is not None
    assert offer.due_rank == RANK_FAN_OUT
    assert await database["pairs"].count_documents({"in": True}) == 500
    while await storage.matcher.match_due((RANK_FAN_OUT,)):
        pass
    assert await database["pairs"].count_documents({"in": True, "encounter": 1, "revision": 1}) == 1600
    assert not await storage.matcher.match_due((RANK_FAN_OUT,))


@pytest.mark.slow
@pytest.mark.measures  # beside other tests, 5 s are no measure
async def test_single_change_passes_imports_and_fan_outs(
    database: Database, client: NotificationClient, notifications: StubNotificationServer
) -> None:
    storage = Storage(database, client)
    await storage.objects.insert_many(
        "search", (new_object("search", f"s{n}", keywords=("crowd",)) for n in range(6000))
    )
    await database["searches"].update_many({}, {"$unset": {"due_at": ""}})
    imports = (
        new_object("offer", f"i{n}", keywords=(f"import{n}",), location=FAR, rank=RANK_IMPORT) for n in range(2000)
    )
    await storage.objects.insert_many("offer", imports)
    await storage.objects.insert(new_object("offer", "large", keywords=("crowd",)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(storage.matcher.run())
        tasks.create_task(storage.notifier.run())
        await wait_until(lambda: storage.metrics.matches.labels("offer")._value.get() >= 1000)
        begun = time.monotonic()
        await storage.objects.insert(new_object("offer", "o", location=BERLIN))
        await storage.objects.insert(new_object("search", "s", location=BERLIN))
        await wait_until(lambda: "s.o.1" in notifications.received, 5.0)
        waiting = await database["offers"].count_documents({"due_at": {"$exists": True}})
        owed, _ = await storage.pairs.owed(now_ms=0)
        storage.matcher.stopping = storage.notifier.stopping = True
    assert time.monotonic() - begun < 5.0
    assert waiting > 1000, "the imports still wait"
    assert owed > 1000, "the encounters of the fan-out still wait"


async def test_two_claims_of_one_object_exclude_each_other_until_the_lease_ends(
    database: Database, client: NotificationClient
) -> None:
    storage = Storage(database, client)
    await storage.objects.insert(new_object("offer", "o", now_ms=1000))
    due = DueObjects(database)
    first = await due.claim("offer", 0, due_by_ms=1000, now_ms=2000, lease_ms=500, token="a")
    assert first is not None
    assert await due.claim("offer", 0, due_by_ms=1000, now_ms=2499, lease_ms=500, token="b") is None
    second = await due.claim("offer", 0, due_by_ms=1000, now_ms=2500, lease_ms=500, token="b")
    assert second is not None
    assert not await due.finish(first, next_due_ms=None, matched=BERLIN, is_leaving=False)
    assert await due.finish(second, next_due_ms=None, matched=BERLIN, is_leaving=False)
    assert await due.claim("offer", 0, due_by_ms=9000, now_ms=9000, lease_ms=500, token="c") is None


async def test_deletion_during_a_fan_out_ends_all_its_pairs(
    mongo_server: MongoServer, database: Database, client: NotificationClient, notifications: StubNotificationServer
) -> None:
    slices = 0

    def delete(name: str) -> None:
        nonlocal slices
        slices += name == "slice_matched"
        if name == "slice_matched" and slices == 1:
            with sync_client(mongo_server) as other:
                tombstone = delete_object(offer, now_ms=offer.created_ms)
                other[database.name]["offers"].replace_one({"_id": "o"}, to_document(tombstone))

    storage = Storage(database, client, at_point=delete)
    await storage.objects.insert_many("search", (new_object("search", f"s{number}") for number in range(700)))
    await database["searches"].update_many({}, {"$unset": {"due_at": ""}})
    offer = new_object("offer", "o")
    await storage.objects.insert(offer)
    await storage.work()
    assert slices == 1
    assert await database["pairs"].count_documents({}) == 500
    assert await database["pairs"].count_documents({"in": True}) == 0
    assert not notifications.bodies
    assert await storage.objects.remove_tombstones() == 1


async def test_matching_ends_when_another_process_takes_its_lease(
    mongo_server: MongoServer, database: Database, client: NotificationClient
) -> None:
    def take_lease(name: str) -> None:
        if name == "slice_matched":
            with sync_client(mongo_server) as other:
                other[database.name]["offers"].update_one({"_id": "o"}, {"$set": {"lease_token": "other"}})

    slow, other = Storage(database, client, at_point=take_lease), Storage(database, client)
    await other.objects.insert_many("search", (new_object("search", f"s{number}") for number in range(600)))
    await database["searches"].update_many({}, {"$unset": {"due_at": ""}})
    await other.objects.insert(new_object("offer", "o"))
    assert await slow.matcher.match_now("offer", "o") == "changed"
    await database["offers"].update_one({"_id": "o", "lease_token": "other"}, {"$set": {"lease_until": 0}})
    while await other.matcher.match_due():
        pass
    assert await database["pairs"].count_documents({"in": True, "encounter": 1}) == 600


@pytest.mark.parametrize("ahead_ms", [0, 3_600_000])
async def test_pair_of_a_process_with_a_fast_clock_ends(
    database: Database, client: NotificationClient, ahead_ms: int
) -> None:
    now_ms = time.time_ns() // 1_000_000
    fast = Storage(database, client, now_ms=lambda: now_ms + ahead_ms)
    storage = Storage(database, client, now_ms=lambda: now_ms + 100)
    await storage.objects.insert(new_object("offer", "o"))
    await storage.objects.insert(new_object("search", "s"))
    await fast.matcher.match_now("offer", "o")
    assert (await storage.pairs.get(["s.o"]))["s.o"].is_in

    def move_away(stored: StoredObject) -> StoredObject:
        fields = msgspec.structs.replace(stored.fields, location=FAR)
        return change_object(stored, fields, now_ms=now_ms, random_unit=UNIT)

    await storage.change("offer", "o", move_away)
    await storage.matcher.match_now("offer", "o")
    assert not (await storage.pairs.get(["s.o"]))["s.o"].is_in


async def test_offer_that_is_off_during_the_report_is_reported_once_it_is_on(
    database: Database, client: NotificationClient, notifications: StubNotificationServer, clock: Clock
) -> None:
    storage = Storage(database, client, now_ms=clock)
    await storage.objects.insert(new_object("offer", "o", now_ms=clock.ms))
    await storage.objects.insert(new_object("search", "s", now_ms=clock.ms))
    await storage.matcher.match_now("offer", "o")

    async def switch(*, is_active: bool) -> None:
        def change(stored: StoredObject) -> StoredObject:
            fields = msgspec.structs.replace(stored.fields, is_active=is_active)
            return change_object(stored, fields, now_ms=clock.ms, random_unit=UNIT)

        await storage.change("offer", "o", change)

    await switch(is_active=False)
    await storage.notifier.notify_owed()
    assert not notifications.bodies
    await switch(is_active=True)
    clock.ms += 1000
    await storage.work()
    assert notifications.received == {"s.o.1": 1}


async def test_encounter_that_begins_during_the_report_of_another_stays_owed(
    database: Database, client: NotificationClient, notifications: StubNotificationServer, clock: Clock
) -> None:
    storage = Storage(database, client, now_ms=clock)
    await storage.objects.insert(new_object("offer", "o", now_ms=clock.ms))
    await storage.objects.insert(new_object("search", "s", now_ms=clock.ms))
    await storage.matcher.match_now("offer", "o")
    (pair,), _ = await storage.pairs.claim_owed(limit=1, now_ms=clock.ms, lease_ms=1000, token="a")
    for location in (FAR, BERLIN):

        def move(stored: StoredObject, location: GeoPoint = location) -> StoredObject:
            fields = msgspec.structs.replace(stored.fields, location=location)
            return change_object(stored, fields, now_ms=clock.ms, random_unit=UNIT)

        await storage.change("offer", "o", move)
        await storage.matcher.match_now("offer", "o")
    await storage.pairs.note_notified(pair, [EncounterReport(1, clock.ms, "accepted")])
    await storage.notifier.notify_owed()
    assert notifications.received == {"s.o.2": 1}


async def test_state_of_a_slower_matcher_is_not_written(
    mongo_server: MongoServer, database: Database, client: NotificationClient
) -> None:
    """The other matcher decides the same pair between the read and the write, and the pair enters once."""

    def match_in_between(name: str) -> None:
        if name == "decided":
            with sync_client(mongo_server) as other:
                update = {"$set": {"encounter": 7, "revision": 9, "in": True}}
                other[database.name]["pairs"].update_one({"_id": "s.o"}, update)

    storage, slow = Storage(database, client), Storage(database, client, at_point=match_in_between)
    await storage.objects.insert(new_object("offer", "o"))
    await storage.objects.insert(new_object("search", "s"))
    await storage.matcher.match_now("offer", "o")
    await slow.matcher.match_now("search", "s")
    pair = (await storage.pairs.get(["s.o"]))["s.o"]
    assert (pair.encounter, pair.is_in) == (7, True)


async def test_object_that_is_created_again_under_its_id_matches_again(
    database: Database, client: NotificationClient, notifications: StubNotificationServer, clock: Clock
) -> None:
    storage = Storage(database, client, now_ms=clock)
    await storage.objects.insert(new_object("search", "s", now_ms=clock.ms))
    for encounter in (1, 2):
        await storage.objects.insert(new_object("offer", "o", now_ms=clock.ms))
        clock.ms += 1000
        await storage.work()
        assert f"s.o.{encounter}" in notifications.received
        await storage.change("offer", "o", lambda stored: delete_object(stored, now_ms=clock.ms))
        clock.ms += 1000
        await storage.work()
        assert await storage.objects.remove_tombstones() == 1
    assert notifications.received == {"s.o.1": 1, "s.o.2": 1}


async def test_lease_is_extended_while_a_slice_takes_longer(database: Database, client: NotificationClient) -> None:
    storage = Storage(database, client)
    await storage.objects.insert(new_object("offer", "o"))
    claimed = await DueObjects(database).claim_one("offer", "o", now_ms=1, lease_ms=1, token="a")
    assert claimed is not None
    keeping = asyncio.create_task(storage.matcher._keep_lease(claimed, asyncio.Event()))
    try:
        async with asyncio.timeout(20):
            while not await database["offers"].find_one({"lease_until": {"$gt": 1_700_000_000_000}}):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        keeping.cancel()
