"""The stores of the notificationserver on a real MongoDB."""

import pytest
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError, PyMongoError

from services.backbone.mongo import Database
from services.notificationserver.core.notifications import Notification, TextNotice
from services.notificationserver.store import Lease, NotificationStore
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
