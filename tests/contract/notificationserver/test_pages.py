"""The pages for operators: why, when and how a message was sent, in three clicks."""

import asyncio
import re
from typing import Any

import httpx

from services.backbone.mongo import Database
from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.core.notifications import ChatNotice, Notification
from services.notificationserver.routes.pages.site import PAGE_ROWS
from services.notificationserver.store import NotificationStore
from tests.contract.notificationserver.serving import Receiver, client_of, match, register, running, until

BROWSER = {"accept": "text/html"}


def link(page: str, beginning: str) -> str:
    """Return the first link of a page whose address begins so."""
    found = re.search(rf'href="({beginning}[^"]*)"', page)
    assert found is not None, page
    return found[1]


async def page_of(client: httpx.AsyncClient, path: str) -> str:
    response = await client.get(path, headers=BROWSER)
    assert response.status_code == 200, response.text
    return response.text


async def test_timeline_is_three_clicks_from_the_mappings(
    service: httpx.AsyncClient, receiver: Receiver, database: Database
) -> None:
    await register(service, "offer-device-1", callback_url=receiver.url)
    for number in range(2):
        await service.post("/notify", json=match(match_id=f"s.o.{number}"))
        await receiver.until(1)
        await until_none(database, "notifications", {"due_at": {"$exists": True}})
    mappings = await page_of(service, "/mappings")
    assert "offer-device-1" not in mappings
    assert "offe…ce-1" in mappings
    device = await page_of(service, link(mappings, "/mapping/"))
    assert "suppressed" in device
    assert "callback delivered" in device
    timelines = [await page_of(service, f"/timeline/s.o.{number}") for number in range(2)]
    assert link(device, "/timeline/") == "/timeline/s.o.1"
    assert "callback: delivered with status 200" in timelines[0]
    assert "suppressed by the rate limit" in timelines[1]
    assert link(timelines[1], "/timeline/") == "/timeline/s.o.0"


async def test_timeline_of_many_messages_has_pages(service: httpx.AsyncClient, database: Database) -> None:
    members = tuple(f"user{number}" for number in range(PAGE_ROWS + 2))
    mappings = [DeviceMapping(f"device-of-{user}", 1, 1, sendbird_id=user) for user in members]
    await database["mappings"].insert_many([each.to_document() for each in mappings])
    chat = Notification("chat.1", 1_795_600_000_000, ChatNotice("Bread", "url", "anna", members, "Hi"))
    await NotificationStore(database, keep_days=3_650).accept([chat])
    await until_none(database, "notifications", {"due_at": {"$exists": True}})
    first = await page_of(service, "/timeline/chat.1")
    assert first.count('aria-labelledby="message-') == PAGE_ROWS
    second = await page_of(service, f"/timeline/chat.1{link(first, '[?]page=2')}")
    assert second.count('aria-labelledby="message-') == 2
    assert link(second, "[?]page=1") == "?page=1"
    assert "it ends before" in await page_of(service, "/timeline/chat.1?page=3")


async def test_notification_without_messages_has_a_timeline(service: httpx.AsyncClient, database: Database) -> None:
    chat = Notification("chat.1", 1_795_600_000_000, ChatNotice("Bread", "url", "anna", ("anna", "ben"), "Hi"))
    notifications = NotificationStore(database, keep_days=3_650)
    await notifications.accept([chat])
    await until_none(database, "notifications", {"due_at": {"$exists": True}})
    assert "no device of a recipient is registered" in await page_of(service, "/timeline/chat.1")
    await database["notifications"].update_one({"_id": "chat.1"}, {"$set": {"set_aside": "ValueError: why"}})
    assert "set aside: ValueError: why" in await page_of(service, "/timeline/chat.1")
    later = 2**52
    await database["notifications"].update_one(
        {"_id": "chat.1"}, {"$set": {"due_at": later}, "$unset": {"set_aside": ""}}
    )
    assert "not planned yet" in await page_of(service, "/timeline/chat.1")


async def test_older_messages_of_a_device_are_on_its_next_pages(
    service: httpx.AsyncClient, receiver: Receiver, database: Database
) -> None:
    await register(service, "offer-device-1", callback_url=receiver.url)
    for number in range(PAGE_ROWS + 2):
        await service.post("/notify", json=match(match_id=f"s.o.{number}"))
    await until_none(database, "notifications", {"due_at": {"$exists": True}})
    path = link(await page_of(service, "/mappings"), "/mapping/")
    first = await page_of(service, path)
    second = await page_of(service, link(first, f"{path}\\?page=2"))
    found = [re.findall(r'href="/timeline/([^"]*)"', page) for page in (first, second)]
    assert list(map(len, found)) == [PAGE_ROWS, 2]
    assert sorted(found[0] + found[1]) == sorted(f"s.o.{number}" for number in range(PAGE_ROWS + 2))
    assert link(second, f"{path}\\?page=1")
    assert "page=3" not in second
    assert "suppressed by the rate limit" in await page_of(service, f"/timeline/{found[0][-1]}")
    assert "accepted" in await page_of(service, link(second, "/timeline/"))


async def until_none(database: Database, collection: str, query: dict[str, Any]) -> None:
    async with asyncio.timeout(20.0):
        while await database[collection].count_documents(query):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.02)


async def until_some(database: Database, collection: str, query: dict[str, Any]) -> None:
    async with asyncio.timeout(20.0):
        while not await database[collection].count_documents(query):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)


async def test_dead_deliveries_are_found_and_replayed(
    service: httpx.AsyncClient, receiver: Receiver, database: Database
) -> None:
    receiver.respond = lambda _: (410, {})
    for number in (1, 2):
        await register(service, f"offer-device-{number}", callback_url=receiver.url)
        await service.post("/notify", json=match(number, match_id=f"s.o.{number}"))
    await receiver.until(2)
    await until_none(database, "deliveries", {"state": "due"})
    assert "the receiver responded 410" in await page_of(service, "/dead?q=RESPONDED+410")
    assert "No dead delivery matches" in await page_of(service, "/dead?q=.*")
    receiver.respond = lambda _: (200, {})
    for number in (1, 2):
        await register(service, f"offer-device-{number}", callback_url=receiver.url)
    nothing = await service.post("/dead/replay", data={"what": "chosen"})
    assert nothing.status_code == 422
    one = await service.post("/dead/replay", data={"what": "chosen", "id": "s.o.1.offer:callback", "q": ""})
    assert (one.status_code, one.headers["location"]) == (303, "/dead?replayed=1")
    await until(lambda: len(receiver.ids) == 3)
    everything = await service.post("/dead/replay", data={"what": "all", "q": "410"})
    assert everything.headers["location"] == "/dead?q=410&replayed=1"
    await until(lambda: len(receiver.ids) == 4)
    assert "The dead list is empty" in await page_of(service, "/dead")


async def test_operator_sends_a_text_clones_and_deletes_a_mapping(
    service: httpx.AsyncClient, receiver: Receiver, database: Database
) -> None:
    await register(service, "offer-device-1", callback_url=receiver.url, locale="de-AT")
    device = await page_of(service, link(await page_of(service, "/mappings?q=offer-dev"), "/mapping/"))
    form = await page_of(service, link(device, "/notification/"))
    assert "offer-device-1" not in form
    hidden, action = (re.search(rf'{name}="([^"]*)"', form) for name in ('name="id" value', 'method="post" action'))
    assert hidden is not None
    assert action is not None
    sent = {"id": hidden[1], "msg": "Hello", "url": ""}
    for _ in range(2):
        response = await service.post(action[1], data=sent, headers=BROWSER)
        assert (response.status_code, response.headers["location"]) == (
            303,
            f"{link(device, '/mapping/').removesuffix('/clone')}?done=sent",
        )
    await receiver.until(1)
    assert await database["notifications"].count_documents({}) == 1
    assert (await service.post("/notification/unknown", data=sent)).status_code == 404
    old_address = await service.get("/notification/offer-device-1")
    assert (old_address.status_code, old_address.headers["location"]) == (307, action[1])
    assert (await service.get("/notification/unknown")).status_code == 404
    clone = await page_of(service, link(device, "/mapping/"))
    assert 'value="de-AT"' in clone
    delete = re.search(r'action="(/mapping/[^"]*/delete)"', device)
    assert delete is not None
    assert (await service.get(delete[1])).status_code == 405
    assert (await service.post(delete[1])).headers["location"] == "/mappings?done=deleted"
    assert await database["mappings"].count_documents({}) == 0
    assert "No device is registered yet" in await page_of(service, "/mappings")
    assert "No device has this id" in await page_of(service, "/mappings?q=x")


async def test_timeline_has_the_reason_why_an_address_is_refused(environ: dict[str, str], database: Database) -> None:
    private = environ | {"OUTGOING_ALLOWED_NETWORKS": ""}
    async with running(private), client_of(private) as service:
        await register(service, "offer-device-1", callback_url="http://127.0.0.1:9/SECRET")
        await service.post("/notify", json=match(match_id="s.o.1"))
        await until_some(database, "deliveries", {"attempts.0": {"$exists": True}})
        timeline = await page_of(service, "/timeline/s.o.1")
    assert "attempt 1 failed" in timeline
    assert "refused: 127.0.0.1 is loopback" in timeline
    assert "SECRET" not in timeline


async def test_pages_need_the_login_of_operators_and_errors_are_pages(
    service: httpx.AsyncClient, environ: dict[str, str]
) -> None:
    missing = await service.get("/timeline/unknown", headers=BROWSER)
    assert missing.status_code == 404
    assert "This notification is unknown" in missing.text
    assert (await service.get("/nothing")).json()["error"] == "not_found"
    async with client_of(environ, None) as stranger:
        assert (await stranger.get("/mappings", headers=BROWSER)).status_code == 401
    foreign = {"origin": "https://evil.example"}
    assert (await service.post("/dead/replay", data={"what": "all"}, headers=foreign)).status_code == 403


async def test_text_that_no_field_has_finds_nothing(service: httpx.AsyncClient) -> None:
    for text in ("\0", "a" * 40_000):
        response = await service.get("/dead", params={"q": text}, headers=BROWSER)
        assert response.status_code == 200, response.text
        assert (await service.post("/dead/replay", data={"what": "all", "q": text})).status_code == 303


async def test_page_behind_the_last_one_does_not_say_that_there_is_nothing(
    service: httpx.AsyncClient, receiver: Receiver
) -> None:
    await register(service, "offer-device-1", callback_url=receiver.url)
    device = link(await page_of(service, "/mappings"), "/mapping/")
    for path in ("/mappings", "/dead", "/messages", device):
        page = await page_of(service, f"{path}?page=50")
        assert "The list has no such page" in page, path
