"""The stores of the notificationserver on a real MongoDB."""

import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError, PyMongoError

from services.backbone.mongo import Database
from services.notificationserver.core.deliveries import Delivery
from services.notificationserver.core.notifications import Notification, TextNotice
from services.notificationserver.store import DeliveryStore, Lease, NotificationStore
from tests.contract.notificationserver.serving import Receiver
from tests.contract.notificationserver.stepping import Stepper


async def test_notification_without_a_majority_is_not_accepted(database: Database) -> None:
    alone = database.with_options(write_concern=WriteConcern(w=2))  # the replica set has one member
    notification = Notification("text.1", 1_795_600_000_000, TextNotice("device", "Hello"))
    with pytest.raises(BulkWriteError):
        await NotificationStore(alone, keep_days=1).accept([notification])


async def test_age_of_work_grows_however_often_it_is_claimed(stepper: Stepper, receiver: Receiver) -> None:
    def fail(_: str) -> None:
        raise PyMongoError

    await stepper.register("offer-device-1", callback_url=receiver.url)
    await stepper.accept("s.o.1")
    start_ms = stepper.now_ms
    stepper.planner._at_point = fail
    for _ in range(5):
        with pytest.raises(PyMongoError):
            await stepper.planner.plan_due()
        await stepper.notifications.claim_owed(limit=1, lease=Lease(stepper.now_ms, 6_000, "token"))
        stepper.now_ms += 6_001
    await stepper.planner.refresh_metrics()
    assert stepper.metrics.oldest_unplanned._value.get() == (stepper.now_ms - start_ms) / 1000
    assert await stepper.notifications.owing(now_ms=stepper.now_ms) == (1, stepper.now_ms - start_ms)
    stepper.planner._at_point = lambda _: None
    await stepper.planner.plan_due()
    planned_ms = stepper.now_ms
    stepper.deliverer._at_point = fail
    for _ in range(5):
        await stepper.attempt()
        stepper.now_ms += 6_001
    await stepper.deliverer.refresh_metrics()
    assert stepper.metrics.oldest_due._value.get() == (stepper.now_ms - planned_ms) / 1000
    assert receiver.requests == []


async def test_held_messages_are_read_without_the_sent_ones_and_those_of_other_devices(database: Database) -> None:
    messages = database["messages"]
    await messages.insert_many({"device_id": "device", "accepted_ms": 1} for _ in range(500))
    await messages.insert_many({"device_id": "other", "accepted_ms": 1, "held_until": number} for number in range(500))
    await messages.insert_many({"device_id": "device", "accepted_ms": 1, "held_until": 7} for _ in range(3))
    found = await messages.find({"device_id": {"$eq": "device"}, "held_until": {"$lte": 1_000}}).explain()
    assert found["executionStats"]["totalKeysExamined"] == 3


def due(host: str, number: int, due_at: int) -> dict[str, Any]:
    made = Delivery(f"{host}.{number}", "m", "device", "callback", host, number, 10**9)
    return made.to_document() | {"due_at": due_at}


async def claimed(database: Database, free: Mapping[str, int], *, limit: int = 200) -> Counter[str]:
    """Claim deliveries, and return the number of each host."""
    lease = Lease(1_000_000, 6_000, uuid.uuid4().hex)
    store = DeliveryStore(database, keep_days=1)
    found = await store.claim(lambda host: free.get(host, 16), limit=limit, lease=lease)
    return Counter(document["host"] for document in found)


async def test_claim_does_not_read_the_deliveries_of_full_hosts(database: Database) -> None:
    deliveries = database["deliveries"]
    await deliveries.insert_many(due("full", number, number) for number in range(5_000))
    await deliveries.insert_many(due(f"host{number % 20}", number, 5_000 + number) for number in range(100))
    await database.command("profile", 2)
    try:
        assert await claimed(database, {"full": 0}) == {f"host{number}": 5 for number in range(20)}
    finally:
        await database.command("profile", 0)
    read = {"ns": f"{database.name}.deliveries", "op": {"$in": ["query", "command"]}}
    examined = [each["keysExamined"] async for each in database["system.profile"].find(read)]
    await database["system.profile"].drop()
    assert len(examined) >= 3
    assert sum(examined) < 1_000


async def test_claim_takes_no_more_of_a_host_than_it_has_room_for(database: Database) -> None:
    deliveries = database["deliveries"]
    await deliveries.insert_many(due("deep", number, number) for number in range(300))
    await deliveries.insert_many(due(f"host{number}", number, 1_000 + number) for number in range(250))
    assert await claimed(database, {"deep": 3}, limit=50) == {"deep": 3, **{f"host{n}": 1 for n in range(47)}}
    assert (await claimed(database, {"deep": 3})).total() == 200
    assert await claimed(database, {"deep": 0}) == {f"host{n}": 1 for n in range(244, 250)}
