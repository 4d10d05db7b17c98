"""The rate limit: one message a pair and side in RATE_LIMIT_SECONDS, over several processes and without Redis."""

import asyncio
import contextlib
from collections import Counter

import pytest

from deploy.develop.localstack.ports import free_port
from deploy.develop.localstack.redis import LocalRedis
from services.backbone.mongo import Database
from tests.contract.notificationserver.serving import EventStub, Receiver, client_of, match, register, running, until
from tests.contract.notificationserver.stepping import Stepper, Stopped, stop_at

LIMIT_MS = 300_000
WINDOW = "notify:window:offer:search1:offer1"


async def stop_planning(stepper: Stepper, point: str) -> None:
    stepper.planner._at_point = stop_at(point)
    with pytest.raises(Stopped):
        await stepper.planner.plan_due()
    stepper.planner._at_point = lambda _: None


@pytest.mark.slow
async def test_fifty_equal_requests_over_four_workers_make_one_message_for_each_recipient_and_one_event(
    environ: dict[str, str], receiver: Receiver, tracker: EventStub, database: Database
) -> None:
    limit_s = 8.0
    ports = ({"NOTIFY_PORT": str(free_port()), "INTERNAL_PORT": str(free_port())} for _ in range(4))
    environs = [environ | port | {"RATE_LIMIT_SECONDS": str(limit_s)} for port in ports]
    async with contextlib.AsyncExitStack() as stack:
        for each in environs:
            await stack.enter_async_context(running(each))
        clients = [await stack.enter_async_context(client_of(each)) for each in environs]
        for side in ("offer", "search"):
            await register(clients[0], f"{side}-device-1", callback_url=f"{receiver.url}/{side}")
        begun = asyncio.get_running_loop().time()

        async def send(number: int) -> str:
            response = await clients[number % 4].post("/notify", json=match())
            assert response.status_code == 202
            return str(response.json()["id"])

        assert len(set(await asyncio.gather(*map(send, range(50))))) == 1
        all_accepted = asyncio.get_running_loop().time()
        await receiver.until(2)
        while asyncio.get_running_loop().time() < begun + limit_s - 0.3:  # repeats all the while
            await send(0)
            await asyncio.sleep(0.1)
        await until(lambda: len(tracker.ids) == 1)
        assert Counter(each.path for each in receiver.requests) == {"/offer": 1, "/search": 1}
        await asyncio.sleep(all_accepted + limit_s + 0.5 - asyncio.get_running_loop().time())
        await send(1)
        await receiver.until(4)
        await until(lambda: len(tracker.ids) == 2)
    assert Counter(each.path for each in receiver.requests) == {"/offer": 2, "/search": 2}
    assert set(tracker.ids.values()) == {1}
    assert await database["notifications"].count_documents({}) == 2


async def test_window_does_not_slide(stepper: Stepper, receiver: Receiver) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    await stepper.accept("s.o.0")
    await stepper.work()
    assert LIMIT_MS - 10_000 < await stepper.redis.pttl(WINDOW) <= LIMIT_MS
    await stepper.redis.pexpire(WINDOW, 1_500)  # Redis has no clock that a test could set
    for number in range(1, 4):
        await stepper.accept(f"s.o.{number}")
        await stepper.work()
    suppressed = await stepper.database["messages"].find_one({"_id": "s.o.3.offer"})
    assert suppressed is not None
    assert (suppressed["state"], suppressed["suppressed_by"]) == ("suppressed", "s.o.0.offer")
    async with asyncio.timeout(5.0):
        while await stepper.redis.exists(WINDOW):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.05)
    await stepper.accept("s.o.4")
    await stepper.work()
    assert receiver.ids == ["s.o.0.offer", "s.o.4.offer"]


async def test_window_begins_when_the_message_is_planned_also_after_a_kill(
    stepper: Stepper, receiver: Receiver
) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    await stepper.accept("s.o.1")
    stepper.now_ms += 2 * LIMIT_MS
    await stop_planning(stepper, "window")
    assert LIMIT_MS - 10_000 < await stepper.redis.pttl(WINDOW) <= LIMIT_MS
    await stepper.redis.pexpire(WINDOW, 10_000)
    stepper.now_ms += 6_001
    await stepper.work()
    assert receiver.ids == ["s.o.1.offer"]
    assert LIMIT_MS - 10_000 < await stepper.redis.pttl(WINDOW) <= LIMIT_MS


async def test_first_accepted_match_of_a_backlog_is_sent_and_no_other(stepper: Stepper, receiver: Receiver) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    stepper.now_ms += LIMIT_MS + 10_000
    for number in range(3):  # stored in another order than they were accepted in
        await stepper.accept(f"s.o.{number}")
        stepper.now_ms -= LIMIT_MS + 10_000
    stepper.now_ms += 4 * LIMIT_MS
    await stepper.work()
    assert receiver.ids == ["s.o.2.offer"]


async def test_known_id_is_not_sent_again_when_redis_was_flushed(
    stepper: Stepper, receiver: Receiver, clean_redis: LocalRedis
) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    assert await stepper.accept("s.o.1")
    await stepper.work()
    clean_redis.flush()
    assert not await stepper.accept("s.o.1")
    await stepper.work()
    assert receiver.ids == ["s.o.1.offer"]


async def test_messages_are_sent_while_redis_is_away(stepper: Stepper, receiver: Receiver) -> None:
    stepper.redis.connection_pool.connection_kwargs["port"] = free_port()
    await stepper.redis.connection_pool.disconnect()
    await stepper.register("offer-device-1", callback_url=receiver.url)
    for number in range(2):
        await stepper.accept(f"s.o.{number}")
    await stepper.work()
    assert receiver.ids == ["s.o.0.offer", "s.o.1.offer"]
    assert stepper.windows.failures == 1


async def test_notification_that_cannot_be_planned_is_set_aside_and_the_others_are_sent(
    stepper: Stepper, receiver: Receiver
) -> None:
    for number in (1, 2, 3):
        await stepper.register(f"offer-device-{number}", callback_url=receiver.url)
        await stepper.accept(f"s.o.{number}", number=number)
    await stepper.database["mappings"].update_one({"_id": "offer-device-1"}, {"$set": {"callback_url": "http://h:x/"}})
    await stepper.database["notifications"].update_one({"_id": "s.o.2"}, {"$set": {"notice.offer.lat": 91}})
    await stepper.work()
    assert receiver.ids == ["s.o.3.offer"]
    stored = [each async for each in stepper.database["notifications"].find(sort=[("_id", 1)])]
    assert [each.get("set_aside", "") for each in stored] == [
        "ValueError: Port could not be cast to integer value as 'x'",
        "ValidationError: Expected `float` <= 90.0 - at `$.notice.offer.lat`",
        "",
    ]
    assert not any("due_at" in each for each in stored)


async def test_message_that_is_suppressed_already_takes_no_window_when_it_is_planned_again(
    stepper: Stepper, receiver: Receiver
) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    await stepper.accept("s.o.1")
    await stepper.work()
    await stepper.accept("s.o.2")
    await stop_planning(stepper, "messages")
    await stepper.redis.delete(WINDOW)  # the rate limit has passed before the lease
    stepper.now_ms += LIMIT_MS
    await stepper.work()
    assert (await stepper.states())["s.o.2.offer"] == "suppressed"
    await stepper.accept("s.o.3")
    await stepper.work()
    assert receiver.ids == ["s.o.1.offer", "s.o.3.offer"]


@pytest.mark.parametrize("point", ["claimed", "window", "messages", "deliveries"])
async def test_planning_that_stops_at_any_point_is_continued(stepper: Stepper, receiver: Receiver, point: str) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    await stepper.accept("s.o.1")
    await stop_planning(stepper, point)
    assert not await stepper.planner.plan_due()  # the lease holds
    stepper.now_ms += 6_001
    await stepper.work()
    assert receiver.ids == ["s.o.1.offer"]
    assert await stepper.states() == {"s.o.1.offer": "sent", "s.o.1.search": "unreachable"}


@pytest.mark.parametrize(("point", "state"), [("messages", "unreachable"), ("deliveries", "sent")])
async def test_message_is_unreachable_when_its_device_loses_its_channels_before_there_are_deliveries(
    stepper: Stepper, receiver: Receiver, point: str, state: str
) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    await stepper.accept("s.o.1")
    await stop_planning(stepper, point)
    await stepper.register("offer-device-1", unset="callback_url")
    stepper.now_ms += 6_001
    while await stepper.planner.plan_due():
        pass
    assert (await stepper.states())["s.o.1.offer"] == state
    assert await stepper.redis.exists(WINDOW) == (state == "sent")
