"""What follows from the responses of push services and OneSignal, and from errors of a channel itself."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.mongo import Database
from services.backbone.outgoing import OutgoingClient
from services.notificationserver.core.messages import LIFE_MS
from services.notificationserver.core.outcomes import Outcome
from services.notificationserver.providers import Parcel, create_channels
from services.notificationserver.settings import Settings
from services.notificationserver.store import DeliveryStore
from services.notificationserver.store.deliveries import DeadFilter
from tests.contract.notificationserver.serving import Receiver
from tests.contract.notificationserver.stepping import Stepper, redis_client, stepping

MINUTE_MS = 60_000
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
