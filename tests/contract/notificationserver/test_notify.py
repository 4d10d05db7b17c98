"""From `POST /notify` to the receiver: who gets what, how often, and which events follow."""

import asyncio

import httpx
import pytest

from deploy.develop.localstack.ports import free_port
from deploy.develop.localstack.redis import LocalRedis
from services.backbone.mongo import Database
from tests.contract.notificationserver.serving import (
    EventStub,
    Receiver,
    client_of,
    match,
    register,
    running,
    until,
)
from tests.contract.notificationserver.stepping import redis_client


async def test_each_side_gets_the_title_and_place_of_the_other_but_not_its_device(
    service: httpx.AsyncClient, receiver: Receiver, tracker: EventStub
) -> None:
    await register(service, "offer-device-1", callback_url=f"{receiver.url}/offer", locale="de-AT")
    await register(service, "search-device-1", callback_url=f"{receiver.url}/search", locale="en")
    response = await service.post("/notify", json=match(match_id="search1.offer1.1"))
    assert response.status_code == 202
    assert response.json() == {"status": "ok", "id": "search1.offer1.1"}
    await receiver.until(2)
    by_path = {request.path: request for request in receiver.requests}
    offer, search = by_path["/offer"], by_path["/search"]
    assert offer.headers["webhook-id"] == "search1~offer1~1~offer"
    assert offer.form["data[message_id]"] == "search1.offer1.1.offer"
    assert offer.form["title"] == "Gesuch gefunden"
    assert offer.form["msg"] == "„Bakery 1“"
    assert offer.form["params[key]"] == "offer_matched_search"
    assert offer.form["url"] == "pushtech://offer/offer1/search1/matched"
    assert search.form["title"] == "Offer found"
    assert search.form["url"] == "pushtech://search/search1/offer1/matched"
    assert search.form["params[offer][table][lat]"] == "52.51"
    assert b"search-device-1" not in offer.body
    assert b"offer-device-1" not in search.body
    await until(lambda: len(tracker.ids) == 1)
    event_id, event_type, params = tracker.requests[0]
    assert (event_id, event_type) == ("search1.offer1.1.mtf", "mtf")
    assert dict(params)["oid"] == "offer1"


@pytest.mark.parametrize("match_id", ["search1.offer1.1", None])
async def test_equal_requests_make_one_message_and_one_event(
    service: httpx.AsyncClient, receiver: Receiver, tracker: EventStub, database: Database, match_id: str | None
) -> None:
    await register(service, "offer-device-1", callback_url=receiver.url)
    bodies = [match(match_id=match_id)] * 50
    responses = await asyncio.gather(*(service.post("/notify", json=body) for body in bodies))
    assert {response.status_code for response in responses} == {202}
    (notification_id,) = {response.json()["id"] for response in responses}
    await receiver.until(1)
    await until(lambda: len(tracker.ids) == 1)
    assert receiver.ids == [f"{notification_id}.offer"]
    assert tracker.ids.total() == 1
    assert await database["notifications"].count_documents({}) == 1
    assert await database["deliveries"].count_documents({}) == 1


async def test_content_gets_a_new_id_when_its_key_is_free_again(
    service: httpx.AsyncClient, clean_redis: LocalRedis
) -> None:
    first = (await service.post("/notify", json=match())).json()["id"]
    assert (await service.post("/notify", json=match())).json()["id"] == first
    clean_redis.flush()
    assert (await service.post("/notify", json=match())).json()["id"] != first


async def test_equal_contents_have_one_id_while_redis_is_away(environ: dict[str, str]) -> None:
    environ |= {"NOTIFY_REDIS_URL": f"redis://127.0.0.1:{free_port()}", "RATE_LIMIT_SECONDS": "86400"}
    async with running(environ), client_of(environ) as client:
        responses = [await client.post("/notify", json=match()) for _ in range(2)]
    assert [response.status_code for response in responses] == [202, 202]
    assert len({response.json()["id"] for response in responses}) == 1


async def test_content_without_an_id_is_sent_again_when_every_attempt_is_dead(
    service: httpx.AsyncClient, receiver: Receiver, clean_redis: LocalRedis
) -> None:
    await register(service, "offer-device-1", callback_url=receiver.url)
    receiver.respond = lambda _: (410, {})
    await service.post("/notify", json=match())
    await receiver.until(1)
    async with redis_client(clean_redis) as redis, asyncio.timeout(10.0):
        while await redis.keys("notify:*"):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.02)
    receiver.respond = lambda _: (200, {})
    await register(service, "offer-device-1", callback_url=receiver.url)
    await service.post("/notify", json=match())
    await receiver.until(2)
