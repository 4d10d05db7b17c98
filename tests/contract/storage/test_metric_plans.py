"""The plans of the queries that every scrape of the metrics runs, from the profiler of a real mongod."""

import pytest
from prometheus_client import CollectorRegistry

from deploy.develop.localstack.mongo import MongoKind
from services.backbone.clients import NotificationClient, TrackerClient
from services.storage.core.documents import to_document
from services.storage.metrics import ApiMetrics
from services.storage.store import Database, ObjectStore
from services.storage.store.owed import create_owed_indexes
from services.storage.worker import EventSender
from tests.contract.storage.storing import Clock, Storage, StubNotificationServer, new_object

QUIET = 2_000
OWING = 3


async def test_no_scrape_and_no_sweep_reads_a_whole_collection(
    database: Database,
    client: NotificationClient,
    notifications: StubNotificationServer,
    clock: Clock,
    mongo_kind: MongoKind,
) -> None:
    if mongo_kind != "mongod":
        pytest.skip("only a real mongod has a profiler")
    await create_owed_indexes(database)
    objects, storage = ObjectStore(database), Storage(database, client, now_ms=clock)
    quiet = [to_document(new_object("offer", f"quiet{number}", now_ms=clock.ms)) for number in range(QUIET)]
    await database["offers"].insert_many([{**each, "due_at": None} for each in quiet])
    await database["offers"].update_many({}, {"$unset": {"due_at": "", "due_rank": ""}})
    for number in range(OWING):
        await objects.insert(new_object("offer", f"owing{number}", now_ms=clock.ms), event="create")
    async with TrackerClient(notifications.url) as tracker:
        metrics = ApiMetrics(CollectorRegistry())
        sender = EventSender(database, tracker, metrics, lease_s=30.0, poll_s=0.1, now_ms=clock)
        await database.command("profile", 2)
        for work in (storage.matcher, storage.notifier, sender):
            await work.refresh_metrics()
        await objects.remove_tombstones()
        await database.command("profile", 0)
    assert metrics.owed_events._value.get() == OWING
    entries = await database["system.profile"].find({"planSummary": {"$exists": True}}).to_list()
    assert {entry["ns"].partition(".")[2] for entry in entries} == {"offers", "searches", "pairs"}
    for entry in entries:
        assert "COLLSCAN" not in entry["planSummary"], entry["command"]
        assert entry["docsExamined"] <= OWING, entry["command"]
