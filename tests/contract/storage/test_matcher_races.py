"""Several matchers, changes during a decision, and large fan-outs."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pymongo import MongoClient

from deploy.develop.localstack.mongo import MongoServer
from services.backbone.clients import NotificationClient
from services.storage.core.documents import to_document
from services.storage.core.objects import RANK_FAN_OUT, RANK_IMPORT, StoredObject, change_object
from services.storage.store import Database, DueObjects
from tests.contract.storage import matcher_process
from tests.contract.storage.storing import BERLIN, FAR, UNIT, Storage, StubNotificationServer, new_object


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


@pytest.mark.slow
async def test_pairs_posted_at_the_same_moment_are_reported_once_by_two_processes(
    mongo_server: MongoServer, database: Database, notifications: StubNotificationServer, client: NotificationClient
) -> None:
    storage = Storage(database, client)
    processes = [matcher_process.start(mongo_server.url, database.name, notifications.url) for _ in range(2)]
    try:
        for begin in range(0, 1000, 50):
            posted: list[StoredObject] = []
            for number in range(begin, begin + 50):
                keywords = (f"pair{number}",)
                posted += [new_object(kind, f"{kind[0]}{number}", keywords=keywords) for kind in ("offer", "search")]
            await asyncio.gather(*(storage.objects.insert(each) for each in posted))
        await wait_until(lambda: len(notifications.received) == 1000)
        await asyncio.sleep(0.5)  # for a duplicate
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert notifications.received == Counter({f"s{number}.o{number}.1": 1 for number in range(1000)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "passes"),
    [
        ("decided", "2"),
        ("pairs_written", "3"),
        ("slice_matched", "2"),
        ("before_finish", "2"),
        ("notified", "7"),
    ],
)
async def test_kill_loses_no_encounter(  # noqa: PLR0917 - fixtures
    mongo_server: MongoServer,
    database: Database,
    notifications: StubNotificationServer,
    client: NotificationClient,
    point: str,
    passes: str,
) -> None:
    storage = Storage(database, client)
    await storage.objects.insert_many("search", (new_object("search", f"s{number}") for number in range(1200)))
    await database["searches"].update_many({}, {"$unset": {"due_at": ""}})
    await storage.objects.insert(new_object("offer", "o"))
    await storage.objects.insert(new_object("offer", "p"))
    killed = matcher_process.start(mongo_server.url, database.name, notifications.url, point, passes)
    assert await asyncio.to_thread(killed.wait, 60) == -9
    restarted = matcher_process.start(mongo_server.url, database.name, notifications.url)
    try:
        await wait_until(lambda: len(notifications.received) >= 2400, 100)
    finally:
        restarted.kill()
        restarted.wait()
    assert set(notifications.received) == {f"s{number}.{offer}.1" for number in range(1200) for offer in "op"}
    assert await database["offers"].count_documents({"due_at": {"$exists": True}}) == 0


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
