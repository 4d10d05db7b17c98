"""Quiet hours: nothing inside, one merged message at the end."""

import datetime as dt

import pytest

from services.notificationserver.store import Lease
from tests.contract.notificationserver.serving import Receiver
from tests.contract.notificationserver.stepping import Stepper, Stopped, stop_at

HOURS = {"time_zone": "Europe/Berlin", "quiet_from": "22:00", "quiet_to": "07:00"}


def ms(year: int, month: int, day: int, hour: int, minute: int) -> int:
    return round(dt.datetime(year, month, day, hour, minute, tzinfo=dt.UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("begin_ms", "end_ms"),
    [
        (ms(2027, 3, 27, 21, 30), ms(2027, 3, 28, 5, 0)),
        (ms(2027, 10, 30, 20, 30), ms(2027, 10, 31, 6, 0)),
    ],
)
async def test_messages_of_a_night_become_one_at_its_end(
    stepper: Stepper, receiver: Receiver, begin_ms: int, end_ms: int
) -> None:
    stepper.now_ms = begin_ms
    await stepper.register("offer-device-1", callback_url=receiver.url, locale="de", **HOURS)
    step_ms = (end_ms - begin_ms) // 8
    for number in range(8):
        await stepper.accept(f"s.o.{number}")
        # Another pair each time would have its own window; here the limit has passed.
        await stepper.redis.delete("notify:window:offer:search1:offer1")
        await stepper.work()
        assert receiver.requests == []
        stepper.now_ms += step_ms
    stepper.now_ms = end_ms - 1
    await stepper.work()
    assert receiver.requests == []
    stepper.now_ms = end_ms
    await stepper.work()
    assert len(receiver.requests) == 1
    form = receiver.requests[0].form
    assert form["title"] == "8 Nachrichten während deiner Ruhezeit"
    assert form["msg"].endswith("und 3 weitere")
    states = await stepper.states()
    assert sorted(states.values()) == ["merged"] * 8 + ["sent", *["unreachable"] * 8]
    await stepper.work()
    assert len(receiver.requests) == 1


async def test_single_message_is_sent_as_itself(stepper: Stepper, receiver: Receiver) -> None:
    stepper.now_ms = ms(2027, 1, 10, 23, 0)
    await stepper.register("offer-device-1", callback_url=receiver.url, **HOURS)
    await stepper.accept("s.o.1")
    await stepper.work()
    stepper.now_ms = ms(2027, 1, 11, 6, 0)
    await stepper.work()
    assert receiver.ids == ["s.o.1.offer"]
    assert (await stepper.states())["s.o.1.offer"] == "sent"


async def test_device_without_quiet_hours_is_not_held(stepper: Stepper, receiver: Receiver) -> None:
    stepper.now_ms = ms(2027, 1, 10, 23, 0)
    await stepper.register("offer-device-1", callback_url=receiver.url, quiet_from="07:00", quiet_to="07:00")
    await stepper.accept("s.o.1")
    await stepper.work()
    assert receiver.ids == ["s.o.1.offer"]


async def test_attempt_that_would_be_in_the_quiet_hours_is_made_at_their_end(
    stepper: Stepper, receiver: Receiver
) -> None:
    stepper.now_ms = ms(2027, 1, 10, 20, 50)
    end_ms = ms(2027, 1, 11, 6, 0)
    await stepper.register("offer-device-1", callback_url=receiver.url, **HOURS)
    receiver.respond = lambda _: (500 if stepper.now_ms < end_ms else 200, {})
    await stepper.accept("s.o.1")
    await stepper.work()
    while await stepper.run_until_next() is not None:
        pass
    at_s = [int(request.headers["webhook-timestamp"]) for request in receiver.requests]
    assert len(at_s) == 4  # at once, after 5 s and 5 min; the next one would be at 22:25
    assert at_s[2] < ms(2027, 1, 10, 21, 0) / 1000
    assert at_s[3] == end_ms / 1000
    assert await stepper.states("deliveries") == {"s.o.1.offer:callback": "delivered"}


async def test_messages_stay_held_when_the_device_has_made_its_quiet_hours_longer(
    stepper: Stepper, receiver: Receiver
) -> None:
    stepper.now_ms = ms(2027, 1, 10, 23, 0)
    await stepper.register("offer-device-1", callback_url=receiver.url, **HOURS)
    await stepper.accept("s.o.1")
    await stepper.work()
    await stepper.register("offer-device-1", quiet_to="08:00")
    stepper.now_ms = ms(2027, 1, 11, 6, 0)
    await stepper.work()
    assert receiver.requests == []
    assert (await stepper.states())["s.o.1.offer"] == "held"
    stepper.now_ms = ms(2027, 1, 11, 7, 0)
    await stepper.work()
    assert receiver.ids == ["s.o.1.offer"]


async def test_windows_of_merged_messages_are_free_again_when_every_channel_is_dead(
    stepper: Stepper, receiver: Receiver
) -> None:
    stepper.now_ms = ms(2027, 1, 10, 23, 0)
    await stepper.register("device", callback_url=receiver.url, **HOURS)
    for number in (1, 2):
        await stepper.accept(f"s.o.{number}", number=number, device="device")
    await stepper.work()
    assert await stepper.redis.keys("notify:window:*") != []
    receiver.respond = lambda _: (410, {})
    stepper.now_ms = ms(2027, 1, 11, 6, 0)
    await stepper.work()
    assert len(receiver.requests) == 1
    assert await stepper.redis.keys("notify:window:*") == []


async def test_window_of_a_held_message_is_free_again_when_the_device_has_no_channel_left(
    stepper: Stepper, receiver: Receiver
) -> None:
    stepper.now_ms = ms(2027, 1, 10, 23, 0)
    await stepper.register("offer-device-1", callback_url=receiver.url, **HOURS)
    await stepper.accept("s.o.1")
    await stepper.work()
    await stepper.register("offer-device-1", unset="callback_url")
    stepper.now_ms = ms(2027, 1, 11, 6, 0)
    await stepper.work()
    assert (await stepper.states())["s.o.1.offer"] == "unreachable"
    assert await stepper.redis.keys("notify:window:*") == []


async def test_many_messages_of_a_leased_device_do_not_delay_other_devices(
    stepper: Stepper, receiver: Receiver
) -> None:
    stepper.now_ms = ms(2027, 1, 10, 23, 0)
    for device in ("first", "second"):
        await stepper.register(device, callback_url=f"{receiver.url}/{device}", **HOURS)
    for number in range(101):
        await stepper.accept(f"s.o.{number}", number=number, device="first" if number < 100 else "second")
    await stepper.work()
    stepper.now_ms = ms(2027, 1, 11, 6, 0)
    assert await stepper.mappings.lease("first", Lease(stepper.now_ms, 6_000, "another process"))
    await stepper.work()
    assert [request.path for request in receiver.requests] == ["/second"]


async def test_late_merger_does_not_end_the_lease_of_another_one(stepper: Stepper, receiver: Receiver) -> None:
    await stepper.register("device", callback_url=receiver.url)
    late = Lease(stepper.now_ms, 6_000, "late")
    assert await stepper.mappings.lease("device", late)
    other = Lease(stepper.now_ms + 6_001, 6_000, "other")
    assert await stepper.mappings.lease("device", other)
    await stepper.mappings.release("device", late)
    assert not await stepper.mappings.lease("device", other._replace(token="third"))
    await stepper.mappings.release("device", other)
    assert await stepper.mappings.lease("device", other._replace(token="third"))


@pytest.mark.parametrize("point", ["chosen", "merged"])
@pytest.mark.parametrize("number", [1, 2])
async def test_merging_that_stops_at_any_point_is_continued(
    stepper: Stepper, receiver: Receiver, point: str, number: int
) -> None:
    stepper.now_ms = ms(2027, 1, 10, 23, 0)
    await stepper.register("device", callback_url=receiver.url, **HOURS)
    for each in range(number):
        await stepper.accept(f"s.o.{each}", number=each, device="device")
    await stepper.work()
    stepper.now_ms = ms(2027, 1, 11, 6, 0)
    stepper.merger._at_point = stop_at(point)
    with pytest.raises(Stopped):
        await stepper.merger.merge_due()
    stepper.merger._at_point = lambda _: None
    await stepper.accept("s.o.7", number=7, device="device")
    await stepper.work()
    assert receiver.ids == ["s.o.7.offer"]  # the lease holds
    stepper.now_ms += 6_001
    await stepper.work()
    assert len(receiver.ids) == 2
    if number == 1:
        assert receiver.ids[1] == "s.o.0.offer"
    else:
        assert receiver.requests[1].form["data[count]"] == "2"
    states = await stepper.states()
    assert [states[f"s.o.{each}.offer"] for each in range(number)] == ["sent" if number == 1 else "merged"] * number
