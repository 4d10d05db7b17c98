"""Documents that this version does not understand: a newer version has written them, or a person has."""

from typing import Any

import pytest

from tests.contract.notificationserver.serving import Receiver
from tests.contract.notificationserver.stepping import Stepper
from tests.contract.notificationserver.test_quiet_hours import HOURS, ms

HOUR_MS = 3_600_000


async def plan(stepper: Stepper, receiver: Receiver, *, devices: int, **fields: str) -> None:
    for number in range(1, devices + 1):
        await stepper.register(f"offer-device-{number}", callback_url=receiver.url, **fields)
        await stepper.accept(f"s.o.{number}", number=number)
    while await stepper.planner.plan_due():
        pass


@pytest.mark.parametrize(
    ("collection", "document_id", "broken"),
    [
        ("mappings", "offer-device-1", {"callback_url": "http://h:x/"}),
        ("mappings", "offer-device-1", {"callback_state": "a state of a newer version"}),
        ("messages", "s.o.1.offer", {"kind": "a kind of a newer version"}),
        ("deliveries", "s.o.1.offer:callback", {"state": "due", "attempts": [{"at": "?"}]}),
    ],
)
async def test_unreadable_delivery_delays_no_other_and_is_sent_when_it_is_readable(
    stepper: Stepper, receiver: Receiver, collection: str, document_id: str, broken: dict[str, Any]
) -> None:
    await plan(stepper, receiver, devices=3)
    documents = stepper.database[collection]
    kept = await documents.find_one({"_id": document_id})
    assert kept is not None
    await documents.update_one({"_id": document_id}, {"$set": broken})
    await stepper.attempt()
    assert sorted(receiver.ids) == ["s.o.2.offer", "s.o.3.offer"]
    assert stepper.metrics.set_aside._value.get() == 1
    stepper.now_ms += HOUR_MS
    await stepper.attempt()
    assert stepper.metrics.set_aside._value.get() == 2
    await documents.update_one({"_id": document_id}, {"$set": {name: kept[name] for name in broken}})
    stepper.now_ms += HOUR_MS
    await stepper.attempt()
    assert sorted(receiver.ids) == ["s.o.1.offer", "s.o.2.offer", "s.o.3.offer"]


@pytest.mark.parametrize(
    ("collection", "document_id", "broken"),
    [
        ("mappings", "offer-device-1", {"callback_state": "a state of a newer version"}),
        ("messages", "s.o.1.offer", {"kind": "a kind of a newer version"}),
    ],
)
async def test_unreadable_held_message_delays_no_other_device(
    stepper: Stepper, receiver: Receiver, collection: str, document_id: str, broken: dict[str, Any]
) -> None:
    stepper.now_ms = ms(2027, 1, 10, 23, 0)
    await plan(stepper, receiver, devices=2, **HOURS)
    documents = stepper.database[collection]
    kept = await documents.find_one({"_id": document_id})
    assert kept is not None
    await documents.update_one({"_id": document_id}, {"$set": broken})
    stepper.now_ms = ms(2027, 1, 11, 6, 0)
    await stepper.work()
    assert receiver.ids == ["s.o.2.offer"]
    assert stepper.metrics.set_aside._value.get() == 1
    await documents.update_one({"_id": document_id}, {"$set": {name: kept[name] for name in broken}})
    stepper.now_ms += HOUR_MS
    await stepper.work()
    assert receiver.ids == ["s.o.2.offer", "s.o.1.offer"]
