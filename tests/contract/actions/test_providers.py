"""chatbot and geonames with a real Redis, broker, worker and storage, and a stand-in for their providers."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from services.consumers.core.chat import CHATBOT
from services.consumers.core.places import GEONAMES
from services.consumers.store.rate_limits import RateLimit
from tests.contract.actions.acting_bench import ActingBench, environ_of, eventually
from tests.contract.actions.providers import TOKEN, Providers
from tests.contract.storage.api.serving import SERVICE, SharedStorage, client_of

MEETUP = {
    "owner": "MeetupCom",
    "text": "A walk",
    "keywords": ["#meetup"],
    "location": {"type": "Point", "coordinates": [13.4, 52.5]},
    "extdata": {"id": "https://meetup.example/1", "berlin_time": "26.11.2026 19:00"},
}
SEARCH = {
    "action": "search",
    "kw": "#poi #gate",
    "sw[latitude]": "52.4",
    "sw[longitude]": "13.2",
    "ne[latitude]": "52.6",
    "ne[longitude]": "13.5",
}


@pytest.fixture(scope="module")
def shared_storage(mongo_server: MongoServer) -> Iterator[SharedStorage]:
    shared = SharedStorage(mongo_server.url, "t-actions")
    with shared.running():
        yield shared


@pytest.fixture
async def storage(shared_storage: SharedStorage) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(shared_storage.environ, SERVICE) as client:
        yield client
    shared_storage.clear()


@pytest.fixture
def providers() -> Iterator[Providers]:
    stand_in = Providers()
    with stand_in.served():
        yield stand_in


@pytest.fixture
def environ(
    clean_redis: LocalRedis, kafka_broker: KafkaBroker, shared_storage: SharedStorage, providers: Providers
) -> dict[str, str]:
    return environ_of(
        clean_redis,
        kafka_broker,
        ACTIONS_STORAGE_URL=f"http://127.0.0.1:{shared_storage.environ['STORAGE_PORT']}",
        STORAGE_PASSWORD=SERVICE[1],
        SENDBIRD_APP_ID="A1B2",
        SENDBIRD_API_TOKEN=TOKEN,
        SENDBIRD_URL=providers.url,
        CHATBOT_MESSAGES_PER_S="2",
        GEONAMES_USER="push",
        GEONAMES_URL=providers.url,
        OUTGOING_ALLOWED_NETWORKS="127.0.0.0/8",
    )


@pytest.fixture
def worker(environ: dict[str, str], tmp_path: Path) -> Iterator[ServiceProcess]:
    process = ServiceProcess(
        "consumers", "worker", label="worker", logs=tmp_path, env={**environ, "LOG_FORMAT": "json"}
    )
    process.start()
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.stop()


async def ask(bench: ActingBench, storage: httpx.AsyncClient, *ids: str, message: str = "when?") -> str:
    """Produce messages to a new offer. Return its id."""
    offer = (await storage.post("/offers", json=MEETUP)).raise_for_status().json()["_id"]
    for id_ in ids:
        await bench.produce_event("chm", id_, chat_of(offer, message))
    return str(offer)


def chat_of(offer: str, message: str) -> dict[str, Any]:
    members = ["anna", "MeetupCom"]
    return {"churl": "channel_1", "chnam": f"{offer}_undefined", "snder": "anna", "mbers": members, "msg": message}


async def replied(providers: Providers, count: int) -> None:
    async def condition() -> bool:
        return len(providers.messages) >= count

    await eventually(condition)


async def committed(bench: ActingBench, handler: str, count: int) -> None:
    async def condition() -> bool:
        return await bench.committed(handler) == count

    await eventually(condition)


@pytest.mark.usefixtures("worker")
async def test_message_to_a_machine_gets_one_reply(
    acting_bench: ActingBench, storage: httpx.AsyncClient, providers: Providers
) -> None:
    await ask(acting_bench, storage, "chat.1", "chat.1")  # the same event twice
    await ask(acting_bench, storage, "chat.2", message="Dave?")
    async with acting_bench.consuming(CHATBOT):
        await replied(providers, 2)
        await committed(acting_bench, "chatbot", 3)
    assert {(sent.channel, sent.user_id, sent.text) for sent in providers.messages} == {
        ("channel_1", "MeetupCom", "26.11.2026 19:00"),
        ("channel_1", "MeetupCom", "Sorry Dave, I didn't understand that."),
    }
    assert len({sent.message_id for sent in providers.messages}) == len(providers.messages) == 2
    assert await acting_bench.dead() == []


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(("status", "headers"), [(503, {}), (429, {"Retry-After": "1"})])
async def test_reply_waits_while_the_provider_is_away(
    acting_bench: ActingBench,
    storage: httpx.AsyncClient,
    providers: Providers,
    status: int,
    headers: dict[str, str],
) -> None:
    providers.status, providers.headers = status, headers
    await ask(acting_bench, storage, "chat.1", "chat.2")
    async with acting_bench.consuming(CHATBOT) as consumer:
        reasons: list[str] = []

        async def is_refused() -> bool:
            try:
                await consumer.check_dependency()
            except RuntimeError as error:
                reasons.append(str(error))
            return providers.refused >= 2 and bool(reasons)

        await eventually(is_refused)
        assert all(re.match(r"the chat provider: (status|the rate limit)", reason) for reason in reasons)
        await asyncio.sleep(2)  # longer than all attempts of an action would take
        assert providers.messages == []
        providers.status = 200
        await replied(providers, 2)
        await committed(acting_bench, "chatbot", 2)
    assert len(providers.messages) == 2
    assert await acting_bench.dead() == []


@pytest.mark.usefixtures("worker")
async def test_reply_that_the_provider_rejects_is_dead_at_once_as_an_invalid_event(
    acting_bench: ActingBench, storage: httpx.AsyncClient, providers: Providers
) -> None:
    providers.status = 400
    await ask(acting_bench, storage, "chat.1")
    async with acting_bench.consuming(CHATBOT):
        await committed(acting_bench, "chatbot", 1)
    (letter,) = await acting_bench.dead()
    assert (letter.is_invalid, letter.attempts, letter.reason) == (
        True,
        1,
        "InvalidEvent: the chat provider: status 400",
    )
    assert providers.refused == 1


@pytest.mark.usefixtures("worker")
async def test_replies_keep_to_the_rate_limit(
    acting_bench: ActingBench, storage: httpx.AsyncClient, providers: Providers
) -> None:
    await ask(acting_bench, storage, *(f"chat.{number}" for number in range(8)))
    async with acting_bench.consuming(CHATBOT):
        await replied(providers, 8)
        await committed(acting_bench, "chatbot", 8)
    at_s = sorted(sent.at_s for sent in providers.messages)
    assert len(at_s) == 8
    # Two windows of a second can touch: at most four in one second, and eight in no less than three windows.
    assert all(fifth - first > 0.5 for first, fifth in zip(at_s, at_s[4:], strict=False))
    assert await acting_bench.dead() == []


async def test_reply_of_a_worker_that_is_killed_is_sent_again_under_its_id(
    acting_bench: ActingBench, storage: httpx.AsyncClient, providers: Providers, worker: ServiceProcess
) -> None:
    providers.hold_s = 1.0
    await ask(acting_bench, storage, "chat.1")
    async with acting_bench.consuming(CHATBOT):
        await replied(providers, 1)
        os.killpg(worker.pid, signal.SIGKILL)  # it leads the group of its processes
        worker.process.wait(timeout_s=10)
        providers.hold_s = 0.0
        worker.start()
        await committed(acting_bench, "chatbot", 1)
    assert len(providers.messages) == 2
    assert len({sent.message_id for sent in providers.messages}) == 1
    assert await acting_bench.dead() == []


@pytest.mark.usefixtures("worker")
async def test_message_of_an_offer_that_is_gone_gets_a_reply(
    acting_bench: ActingBench, storage: httpx.AsyncClient, providers: Providers
) -> None:
    offer = await ask(acting_bench, storage)
    (await storage.delete(f"/offers/{offer}")).raise_for_status()
    await acting_bench.produce_event("chm", "chat.1", chat_of(offer, "when?"))
    async with acting_bench.consuming(CHATBOT):
        await replied(providers, 1)
    assert providers.messages[0].text == "Sorry, this offer has ended."


@pytest.mark.usefixtures("worker")
async def test_old_message_gets_no_reply(
    acting_bench: ActingBench, storage: httpx.AsyncClient, providers: Providers
) -> None:
    offer = await ask(acting_bench, storage)
    hour_ago_ms = time.time_ns() // 1_000_000 - 3_601_000
    await acting_bench.produce_event("chm", "chat.1", chat_of(offer, "when?"), received_at_ms=hour_ago_ms)
    await acting_bench.produce_event("chm", "chat.2", chat_of(offer, "link"))
    async with acting_bench.consuming(CHATBOT):
        await replied(providers, 1)
        await committed(acting_bench, "chatbot", 2)
    assert [sent.text for sent in providers.messages] == ["https://meetup.example/1"]


@pytest.mark.usefixtures("worker")
async def test_link_of_a_place_is_that_of_geonames(
    acting_bench: ActingBench, storage: httpx.AsyncClient, providers: Providers
) -> None:
    document = {**MEETUP, "owner": "GeonamesOrg", "extdata": {"geoid": "6325497"}}
    offer = (await storage.post("/offers", json=document)).raise_for_status().json()["_id"]
    message = {**chat_of(offer, "link?"), "mbers": ["anna", "GeonamesOrg"]}
    await acting_bench.produce_event("chm", "chat.1", message)
    async with acting_bench.consuming(CHATBOT):
        await replied(providers, 1)
    assert providers.messages[0].text == "https://en.wikipedia.org/wiki/Brandenburg_Gate"


@pytest.mark.usefixtures("worker")
async def test_searches_of_places_make_one_offer_for_each_place(
    acting_bench: ActingBench, storage: httpx.AsyncClient, providers: Providers, shared_storage: SharedStorage
) -> None:
    async with acting_bench.consuming(GEONAMES):
        for number, words in enumerate(("#poi #gate", "#poi", "#wikipedia"), start=1):
            await acting_bench.produce_event("offr", f"search.{number}", {**SEARCH, "kw": words})
            await committed(acting_bench, "geonames", number)
    assert providers.searches == ["/searchJSON", "/searchJSON", "/findNearbyWikipediaJSON"]
    offers = (await storage.get("/offers", params={"owner": "GeonamesOrg"})).raise_for_status().json()["data"]
    assert sorted(offer["text"] for offer in offers) == ["Brandenburg Gate", "Example Hotel", "Pariser Platz"]
    by_name = {offer["text"]: offer for offer in offers}
    # The gate was in all three results. It has the words of the last search, and the link of its article.
    assert by_name["Brandenburg Gate"]["keywords"] == ["#wikipedia", "#all"]
    assert by_name["Brandenburg Gate"]["extdata"] == {
        "geoid": "6325497",
        "link": "https://en.wikipedia.org/wiki/Brandenburg_Gate",
    }
    assert by_name["Example Hotel"]["keywords"] == ["#poi", "#all"]
    week_ms = 7 * 86_400_000
    assert all(0 < offer["validuntil"] - time.time_ns() // 1_000_000 <= week_ms for offer in offers)
    assert {offer["radiusMeters"] for offer in offers} == {225}

    async def has_bud() -> bool:
        events = [(kind, params.get("owner")) for _, kind, params in shared_storage.tracker.requests]
        return ("bud", "GeonamesOrg") in events

    await eventually(has_bud)
    assert await acting_bench.dead() == []


@pytest.mark.usefixtures("worker")
async def test_two_searches_at_a_time_make_no_duplicates(acting_bench: ActingBench, storage: httpx.AsyncClient) -> None:
    for number in range(6):
        await acting_bench.produce_event("offr", f"search.{number}", SEARCH)
    async with acting_bench.consuming(GEONAMES):
        await committed(acting_bench, "geonames", 6)
    offers = (await storage.get("/offers", params={"owner": "GeonamesOrg"})).raise_for_status().json()["data"]
    assert sorted(offer["text"] for offer in offers) == ["Brandenburg Gate", "Example Hotel"]


@pytest.mark.parametrize("name", ["chatbot", "geonames"])
def test_consumer_without_credentials_is_ready_and_reports_why_it_is_off(
    name: str, environ: dict[str, str], tmp_path: Path
) -> None:
    without = {**environ, "SENDBIRD_APP_ID": "", "GEONAMES_USER": "", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    process = ServiceProcess("consumers", name, label=name, logs=tmp_path, env={**without, "LOG_FORMAT": "json"})
    process.start()
    try:
        process.wait_until_ready()
        checks = httpx.get(f"{process.internal_url}/readyz").json()["checks"]
    finally:
        process.stop()
    variable = {"chatbot": "SENDBIRD_APP_ID", "geonames": "GEONAMES_USER"}[name]
    assert checks == {"consumer": {"ok": True, "detail": f"off: {variable} is not set"}}
    logged = [json.loads(line) for line in process.log.read_text().splitlines()]
    assert [line["reason"] for line in logged if line["event"] == "consumer_off"] == [f"{variable} is not set"]


async def test_limit_permits_so_much_in_a_window(acting_bench: ActingBench) -> None:
    first, second = (RateLimit(acting_bench.redis, "test", most=5, window_s=0.5) for _ in range(2))
    assert [await limit.take(2) for limit in (first, second)] == [0.0, 0.0]
    wait_s = await first.take(2)
    assert 0.0 < wait_s <= 0.5
    assert await second.take(1) == 0.0
    await asyncio.sleep(wait_s + 0.02)
    assert await first.take(5) == 0.0
    await second.close(20.0)
    assert 19.0 < await first.take() <= 20.0


async def test_closed_limit_keeps_its_count(acting_bench: ActingBench) -> None:
    limit = RateLimit(acting_bench.redis, "test", most=5, window_s=3600.0)
    assert await limit.take(5) == 0.0
    await limit.close(0.1)
    assert 0.0 < await limit.take() <= 0.1
    await asyncio.sleep(0.12)
    assert 3590.0 < await limit.take() <= 3600.0


async def test_limit_stays_closed_for_the_longest_time(acting_bench: ActingBench) -> None:
    limit = RateLimit(acting_bench.redis, "test", most=5, window_s=0.1)
    for closed_s in (20.0, 1.0):
        await limit.close(closed_s)
    assert 19.0 < await limit.take() <= 20.0
