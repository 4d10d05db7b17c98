"""What follows from the responses of receivers: retries, signatures, retirement and the dead list."""

import datetime as dt
from itertools import pairwise
from typing import ClassVar

import pytest
from standardwebhooks import Webhook, WebhookVerificationError, webhooks

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.mongo import Database
from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.core.outcomes import callback_outcome
from services.notificationserver.core.signatures import format_key
from services.notificationserver.providers import Parcel
from tests.contract.notificationserver.serving import Received, Receiver
from tests.contract.notificationserver.stepping import KEY, Stepper, redis_client, stepping

OTHER_KEY = format_key(b"n" * 32)
MINUTE_MS = 60_000


class AttemptClock(dt.datetime):
    """The clock of a receiver at the time of an attempt."""

    shown: ClassVar[dt.datetime]

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
        return cls.shown.astimezone(tz)


def verify(request: Received, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_s = int(request.headers["webhook-timestamp"])
    AttemptClock.shown = dt.datetime.fromtimestamp(at_s, dt.UTC)
    monkeypatch.setattr(webhooks, "datetime", AttemptClock)
    Webhook(key).verify(request.body, request.headers, json_parse=False)


async def test_receiver_that_fails_three_times_gets_one_message_under_one_id(
    stepper: Stepper, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    receiver.respond = lambda _: (503 if len(receiver.requests) < 3 else 204, {})
    await stepper.accept("s.o.1")
    await stepper.work()
    times = [stepper.now_ms]
    while (at_ms := await stepper.run_until_next()) is not None:
        times.append(at_ms)
        if len(times) == 2:  # after two attempts the operator of the receiver changes the key
            await stepper.register("offer-device-1", callback_key=OTHER_KEY)
    assert receiver.ids == ["s.o.1.offer"] * 4
    assert [int(each.headers["webhook-timestamp"]) for each in receiver.requests] == [at // 1000 for at in times]
    for (before, after), pause_s in zip(pairwise(times), (5, 300, 1800), strict=True):
        assert 0.8 * pause_s <= (after - before) / 1000 <= 1.2 * pause_s
    for index, request in enumerate(receiver.requests):
        verify(request, KEY, monkeypatch)
        if index >= 2:
            verify(request, OTHER_KEY, monkeypatch)
        else:
            with pytest.raises(WebhookVerificationError):
                verify(request, OTHER_KEY, monkeypatch)
    assert await stepper.states("deliveries") == {"s.o.1.offer:callback": "delivered"}


async def test_replaced_key_signs_for_a_day(
    stepper: Stepper, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    await stepper.register("offer-device-1", callback_key=OTHER_KEY)
    stepper.now_ms += 24 * 60 * MINUTE_MS
    await stepper.accept("s.o.1")
    await stepper.work()
    verify(receiver.requests[0], OTHER_KEY, monkeypatch)
    with pytest.raises(WebhookVerificationError):
        verify(receiver.requests[0], KEY, monkeypatch)


async def test_retry_after_is_waited_for(stepper: Stepper, receiver: Receiver) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    receiver.respond = lambda _: (429, {"Retry-After": "90"}) if len(receiver.requests) < 1 else (200, {})
    await stepper.accept("s.o.1")
    await stepper.work()
    start_ms = stepper.now_ms
    stepper.now_ms += 89_999
    await stepper.attempt()
    assert len(receiver.requests) == 1
    assert await stepper.run_until_next() == start_ms + 90_000
    assert len(receiver.requests) == 2


async def test_receiver_that_hangs_gets_the_message_again_and_keeps_its_callback(
    environ: dict[str, str], database: Database, clean_redis: LocalRedis, receiver: Receiver
) -> None:
    receiver.hangs = True
    async with (
        redis_client(clean_redis) as redis,
        stepping(environ, database, redis, NOTIFY_ATTEMPT_TIMEOUT_S="0.5") as stepper,
    ):
        await stepper.register("offer-device-1", callback_url=receiver.url)
        await stepper.accept("s.o.1")
        await stepper.work()
        start_ms = stepper.now_ms
        delivery = await database["deliveries"].find_one()
        assert delivery is not None
        (attempt,) = delivery["attempts"]
        assert (attempt["status"], attempt["reason"]) == (None, "no complete response within the time limit")
        mapping = await stepper.mappings.get("offer-device-1")
        assert mapping is not None
        assert (mapping.callback_state, mapping.callback_failing_since_ms) == ("", start_ms)
        receiver.hangs = False
        again_ms = await stepper.run_until_next()
        assert again_ms is not None
        assert 4_000 <= again_ms - start_ms <= 6_000
        assert await stepper.states("deliveries") == {"s.o.1.offer:callback": "delivered"}
    assert receiver.ids == ["s.o.1.offer"] * 2


async def test_deliveries_to_callbacks_that_moved_to_one_host_share_its_slots(
    stepper: Stepper, receiver: Receiver
) -> None:
    for number in range(20):
        await stepper.register(f"offer-device-{number}", callback_url=f"http://127.0.1.{number}:{receiver.port}/")
        await stepper.accept(f"s.o.{number}", number=number)
    await stepper.planner.plan_due()
    for number in range(20):
        await stepper.register(f"offer-device-{number}", callback_url=receiver.url)
    receiver.delay_s = 0.1
    while await stepper.deliverer.claim_due():
        pass
    await stepper.attempt()
    assert len(set(receiver.ids)) == 20
    assert receiver.most_open <= stepper.settings.per_host
    assert {each["host"] async for each in stepper.database["deliveries"].find()} == {f"127.0.0.1:{receiver.port}"}


async def test_message_that_is_never_accepted_is_dead_before_it_is_a_day_old(
    stepper: Stepper, receiver: Receiver
) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    receiver.respond = lambda _: (500, {})
    await stepper.accept("s.o.1")
    await stepper.work()
    start_ms = stepper.now_ms
    while await stepper.run_until_next() is not None:
        assert stepper.now_ms < start_ms + 24 * 60 * MINUTE_MS
    delivery = await stepper.database["deliveries"].find_one()
    assert delivery is not None
    assert delivery["state"] == "dead"
    assert delivery["reason"] == "the next attempt would be stale: the receiver responded 500"
    assert len(delivery["attempts"]) == len(receiver.requests) == 7


@pytest.mark.parametrize(("status", "state"), [(404, ""), (429, ""), (500, ""), (302, ""), (410, "retired")])
async def test_only_410_retires_a_callback(stepper: Stepper, receiver: Receiver, status: int, state: str) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    receiver.respond = lambda _: (status, {"Location": f"{receiver.url}/elsewhere"})
    await stepper.accept("s.o.1")
    await stepper.work()
    mapping = await stepper.mappings.get("offer-device-1")
    assert mapping is not None
    assert mapping.callback_state == state
    assert len(receiver.requests) == 1
    delivery = await stepper.database["deliveries"].find_one()
    assert delivery is not None
    assert delivery["state"] == ("dead" if state else "due")
    # Registering again reactivates it.
    assert (await stepper.register("offer-device-1", callback_url=receiver.url)).callback_state == ""


async def test_callback_that_only_fails_for_five_days_is_paused(stepper: Stepper, receiver: Receiver) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    receiver.respond = lambda _: (500, {})
    for day in range(6):
        await stepper.accept(f"s.o.{day}")
        await stepper.work()
        mapping = await stepper.mappings.get("offer-device-1")
        assert mapping is not None
        assert mapping.callback_state == ("" if day < 5 else "paused")
        stepper.now_ms += 24 * 60 * MINUTE_MS + 1
        await stepper.redis.delete("notify:window:offer:search1:offer1")
    await stepper.accept("s.o.8")
    await stepper.work()
    assert (await stepper.states())["s.o.8.offer"] == "unreachable"


async def test_callback_is_judged_by_what_happened_last_when_attempts_overlap(
    stepper: Stepper, receiver: Receiver
) -> None:
    healthy = await stepper.register("offer-device-1", callback_url=receiver.url)
    await stepper.accept("s.o.1")
    await stepper.work()
    (delivery,) = (await stepper.deliverer._deliveries.of_messages(["s.o.1.offer"]))["s.o.1.offer"]
    message = (await stepper.deliverer._messages.get_many(["s.o.1.offer"]))["s.o.1.offer"]

    async def attempt(seen: DeviceMapping, status: int) -> DeviceMapping:
        """Record an attempt that began when the mapping was as seen. Return the mapping after it."""
        parcel = Parcel(delivery, message, seen, stepper.now_ms)
        await stepper.deliverer._recorder.record(parcel, callback_outcome(status, None), token="a token")
        after = await stepper.mappings.get("offer-device-1")
        assert after is not None
        return after

    failing = await attempt(healthy, 500)
    assert failing.callback_failing_since_ms == stepper.now_ms
    stepper.now_ms += 6 * 24 * 60 * MINUTE_MS
    working = await attempt(healthy, 200)
    assert working.callback_failing_since_ms is None
    assert await attempt(failing, 500) == working
    assert await attempt(working, 200) == working
    await attempt(working, 500)
    assert (await attempt(healthy, 410)).callback_state == "retired"


async def test_window_is_free_again_when_every_channel_is_dead(stepper: Stepper, receiver: Receiver) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    receiver.respond = lambda _: (410, {})
    await stepper.accept("s.o.1")
    await stepper.work()
    receiver.respond = lambda _: (200, {})
    await stepper.register("offer-device-1", callback_url=receiver.url)
    await stepper.accept("s.o.2")
    await stepper.work()
    assert receiver.ids == ["s.o.1.offer", "s.o.2.offer"]


async def test_window_stays_while_a_channel_may_deliver(stepper: Stepper, receiver: Receiver) -> None:
    await stepper.register("offer-device-1", callback_url=receiver.url)
    receiver.respond = lambda _: (500, {})
    await stepper.accept("s.o.1")
    await stepper.work()
    await stepper.accept("s.o.2")
    await stepper.work()
    found = await stepper.database["messages"].find_one({"_id": "s.o.2.offer"})
    assert found is not None
    assert (found["state"], found["suppressed_by"]) == ("suppressed", "s.o.1.offer")


async def test_window_is_free_again_when_the_last_of_several_channels_is_dead(
    environ: dict[str, str], database: Database, clean_redis: LocalRedis, receiver: Receiver
) -> None:
    one_signal = {"ONESIGNAL_APP_ID": "app", "ONESIGNAL_API_KEY": "key", "ONESIGNAL_URL": f"{receiver.url}/send"}
    statuses = {"/": 410, "/send": 500}
    receiver.respond = lambda request: (statuses[request.path], {})
    async with redis_client(clean_redis) as redis, stepping(environ, database, redis, **one_signal) as stepper:
        await stepper.register("offer-device-1", callback_url=f"{receiver.url}/", onesignal_id="player-1")
        await stepper.accept("s.o.1")
        await stepper.work()
        await stepper.accept("s.o.2")
        await stepper.work()
        statuses["/send"] = 400
        await stepper.run_until_next()
        await stepper.accept("s.o.3")
        await stepper.work()
        states = await stepper.states()
    assert [states[f"s.o.{number}.offer"] for number in (1, 2, 3)] == ["sent", "suppressed", "sent"]


async def test_target_in_a_private_network_is_not_reached_and_the_reason_is_kept(
    environ: dict[str, str], database: Database, clean_redis: LocalRedis, receiver: Receiver
) -> None:
    async with (
        redis_client(clean_redis) as redis,
        stepping(environ, database, redis, OUTGOING_ALLOWED_NETWORKS="") as stepper,
    ):
        await stepper.register("offer-device-1", callback_url=receiver.url)
        await stepper.accept("s.o.1")
        await stepper.work()
    delivery = await database["deliveries"].find_one()
    assert delivery is not None
    assert [each["reason"] for each in delivery["attempts"]] == ["refused: 127.0.0.1 is loopback"]
    assert receiver.connections == 0
