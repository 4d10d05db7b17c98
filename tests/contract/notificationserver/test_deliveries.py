"""What follows from the responses of receivers: retries, signatures, retirement and the dead list."""

import base64
import datetime as dt
import json
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from standardwebhooks import Webhook, WebhookVerificationError, webhooks

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.mongo import Database
from services.backbone.outgoing import OutgoingClient
from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.core.messages import LIFE_MS
from services.notificationserver.core.outcomes import Outcome, callback_outcome
from services.notificationserver.core.signatures import format_key
from services.notificationserver.providers import Parcel, create_channels
from services.notificationserver.settings import Settings
from services.notificationserver.store import DeliveryStore
from services.notificationserver.store.deliveries import DeadFilter
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


VAPID_KEY = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"


def subscription(receiver: Receiver, path: str) -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    keys = {"p256dh": base64.urlsafe_b64encode(point).decode().rstrip("="), "auth": "BTBZMqHH6r4Tts7J_aSIgg"}
    return {"endpoint": f"{receiver.url}/{path}", "keys": keys}


async def test_ended_subscription_is_removed_and_the_others_stay(
    environ: dict[str, str], database: Database, clean_redis: LocalRedis, receiver: Receiver
) -> None:
    push = {"VAPID_PRIVATE_KEY": VAPID_KEY, "VAPID_SUBJECT": "mailto:a@example.com"}
    async with redis_client(clean_redis) as redis, stepping(environ, database, redis, **push) as stepper:
        for path in ("gone", "large", "well"):
            await stepper.register("offer-device-1", webpush=subscription(receiver, path))
        statuses = {"/gone": 410, "/large": 413, "/well": 201}
        receiver.respond = lambda request: (statuses[request.path], {})
        await stepper.accept("s.o.1")
        stepper.now_ms += 60_000
        await stepper.work()
        mapping = await stepper.mappings.get("offer-device-1")
    assert mapping is not None
    assert [each.endpoint.rpartition("/")[2] for each in mapping.webpush] == ["large", "well"]
    states = {each["channel"]: (each["state"], each["reason"]) async for each in database["deliveries"].find()}
    assert sorted(states.values()) == [
        ("dead", "the push service rejects the size (413)"),
        ("dead", "the subscription has ended (410)"),
        ("delivered", ""),
    ]
    by_path = {request.path: request for request in receiver.requests}
    headers = by_path["/well"].headers
    assert headers["ttl"] == str(24 * 3600 - 60)
    assert headers["content-encoding"] == "aes128gcm"
    assert headers["authorization"].startswith("vapid t=")
    assert headers["topic"] == by_path["/gone"].headers["topic"]
    assert len(headers["topic"]) == 32


async def test_vapid_header_is_for_the_origin_and_is_renewed_before_it_expires(
    environ: dict[str, str], database: Database, clean_redis: LocalRedis, receiver: Receiver
) -> None:
    push = {"VAPID_PRIVATE_KEY": VAPID_KEY, "VAPID_SUBJECT": "mailto:a@example.com"}
    origins = [f"http://127.0.0.{number}:{receiver.port}" for number in (1, 2)]
    async with redis_client(clean_redis) as redis, stepping(environ, database, redis, **push) as stepper:
        for origin in origins:
            fields = subscription(receiver, "push") | {"endpoint": f"{origin}/push"}
            await stepper.register("offer-device-1", webpush=fields)
        times_s: list[float] = []
        for hour in range(0, 30, 5):
            await stepper.accept(f"s.o.{hour}")
            await stepper.work()
            await stepper.redis.delete("notify:window:offer:search1:offer1")
            times_s += [stepper.now_ms / 1000] * 2
            stepper.now_ms += 5 * 60 * MINUTE_MS
    assert len(receiver.requests) == len(times_s)
    for request, at_s in zip(receiver.requests, times_s, strict=True):
        token = request.headers["authorization"].removeprefix("vapid t=").partition(",")[0]
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert claims["aud"] == f"http://{request.headers['host']}"
        assert claims["sub"] == "mailto:a@example.com"
        assert at_s + 3_600 < claims["exp"] <= at_s + 24 * 3_600
    assert {request.headers["host"] for request in receiver.requests} == {origin[7:] for origin in origins}


async def test_replayed_message_has_a_new_life(
    environ: dict[str, str], database: Database, clean_redis: LocalRedis, receiver: Receiver
) -> None:
    providers = {
        "VAPID_PRIVATE_KEY": VAPID_KEY,
        "VAPID_SUBJECT": "mailto:a@example.com",
        "ONESIGNAL_APP_ID": "app",
        "ONESIGNAL_API_KEY": "key",
        "ONESIGNAL_URL": f"{receiver.url}/send",
    }
    async with redis_client(clean_redis) as redis, stepping(environ, database, redis, **providers) as stepper:
        await stepper.register("offer-device-1", webpush=subscription(receiver, "push"), onesignal_id="player-1")
        receiver.respond = lambda request: (413 if request.path == "/push" else 400, {})
        await stepper.accept("s.o.1")
        await stepper.work()
        receiver.requests.clear()
        stepper.now_ms += 2 * LIFE_MS
        deliveries = DeliveryStore(database, keep_days=30)
        assert await deliveries.replay(DeadFilter(), now_ms=stepper.now_ms, life_ms=LIFE_MS) == 2
        stepper.now_ms += MINUTE_MS
        await stepper.work()
    by_path = {request.path: request for request in receiver.requests}
    assert int(by_path["/push"].headers["ttl"]) == (LIFE_MS - MINUTE_MS) // 1000
    assert json.loads(by_path["/send"].body)["ttl"] == (LIFE_MS - MINUTE_MS) // 1000


async def test_endpoint_that_vapid_cannot_name_is_removed(
    environ: dict[str, str], database: Database, clean_redis: LocalRedis, receiver: Receiver
) -> None:
    push = {"VAPID_PRIVATE_KEY": VAPID_KEY, "VAPID_SUBJECT": "mailto:a@example.com"}
    async with redis_client(clean_redis) as redis, stepping(environ, database, redis, **push) as stepper:
        fields = subscription(receiver, "push") | {"endpoint": "https://[2001:db8::1]/push"}
        await stepper.register("offer-device-1", webpush=fields)
        await stepper.accept("s.o.1")
        await stepper.work()
        mapping = await stepper.mappings.get("offer-device-1")
    assert mapping is not None
    assert mapping.webpush == ()


@pytest.mark.parametrize("subject", ["https://example.com/x", "mailto:a@b"])
async def test_subject_that_vapid_rejects_ends_the_start(environ: dict[str, str], subject: str) -> None:
    settings = Settings.from_env(environ | {"VAPID_PRIVATE_KEY": VAPID_KEY, "VAPID_SUBJECT": subject})
    async with OutgoingClient(timeout_s=1.0) as outgoing:
        with pytest.raises(ValueError, match="VAPID_SUBJECT"):
            create_channels(settings, outgoing)


async def test_error_of_a_channel_is_an_attempt_and_is_not_counted_against_the_callback(
    stepper: Stepper, receiver: Receiver
) -> None:
    class BrokenChannel:
        async def send(self, parcel: Parcel) -> Outcome:
            raise RuntimeError(parcel.delivery.id)

    channels = stepper.deliverer._channels
    stepper.deliverer._channels = {"callback": BrokenChannel()}
    await stepper.register("offer-device-1", callback_url=receiver.url)
    await stepper.accept("s.o.1")
    await stepper.work()
    delivery = await stepper.database["deliveries"].find_one()
    assert delivery is not None
    assert [each["reason"] for each in delivery["attempts"]] == ["an error of this service: RuntimeError"]
    assert delivery["state"] == "due"
    assert stepper.metrics.attempts.labels("callback", "error")._value.get() == 1
    mapping = await stepper.mappings.get("offer-device-1")
    assert mapping is not None
    assert mapping.callback_failing_since_ms is None
    stepper.deliverer._channels = channels
    assert await stepper.run_until_next() is not None
    assert receiver.ids == ["s.o.1.offer"]


async def test_provider_that_knows_no_subscribed_device_is_a_failure(
    environ: dict[str, str], database: Database, clean_redis: LocalRedis, receiver: Receiver
) -> None:
    one_signal = {"ONESIGNAL_APP_ID": "app", "ONESIGNAL_API_KEY": "key", "ONESIGNAL_URL": f"{receiver.url}/send"}
    receiver.response_body = b'{"id": "", "errors": ["All included players are not subscribed"]}'
    async with redis_client(clean_redis) as redis, stepping(environ, database, redis, **one_signal) as stepper:
        await stepper.register("offer-device-1", onesignal_id="player-1")
        await stepper.accept("s.o.1")
        await stepper.work()
        receiver.response_body = b'{"id": "9c1b"}'
        await stepper.accept("s.o.2")  # the window is free: nobody got the first one
        await stepper.work()
    assert await stepper.states("deliveries") == {
        "s.o.1.offer:onesignal": "dead",
        "s.o.2.offer:onesignal": "delivered",
    }
    assert receiver.requests[0].headers["authorization"] == "Key key"
    assert b"search-device-1" not in receiver.requests[0].body
