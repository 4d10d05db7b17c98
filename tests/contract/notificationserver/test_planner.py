"""The planner with notifications of many recipients."""

from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.core.notifications import ChatNotice, Notification
from tests.contract.notificationserver.stepping import Stepper


async def test_messages_of_a_large_chat_are_planned_in_parts(stepper: Stepper) -> None:
    mappings = [
        DeviceMapping(f"device{user}.{number}", 1, 1, sendbird_id=f"user{user}", callback_url="http://127.0.0.1:1/")
        for user in range(60)
        for number in range(20)
    ]
    await stepper.database["mappings"].insert_many(mapping.to_document() for mapping in mappings)
    members = ("sender", *(f"user{user}" for user in range(60)))
    notice = ChatNotice("channel", "url", "sender", members, "x" * 20_000)
    await stepper.notifications.accept([Notification("chat.1", stepper.now_ms, notice)])
    points: list[str] = []
    stepper.planner._at_point = points.append
    assert not await stepper.planner.plan_due()
    assert points.count("messages") == 2
    messages = stepper.database["messages"]
    assert await messages.count_documents({"state": "sent"}) == len(mappings)
    assert await stepper.database["deliveries"].count_documents({}) == len(mappings)
    message = await messages.find_one()
    assert message is not None
    assert len(message["params"]["params[chat_message][message]"]) == 500
    assert await stepper.notifications.waiting(now_ms=stepper.now_ms) == (0, 0)
