"""Why a pair matches or not, and sending it by hand."""

import asyncio
import re
import time
from typing import Any

import httpx

from tests.contract.storage.api.serving import offer
from tests.contract.storage.pages.serving import create, text_of
from tests.contract.storage.storing import StubNotificationServer

UNKNOWN = "65f1c0ffee5eed5eed5eed01"
PATH = "/store/matches"
REASONS = {
    "outside": "exceeds the radius of the",
    "keys": "They share no keyword: the offer has “bread”, and the search has “cake”.",
    "owner": "Both have the same owner, ann.",
    "offer_inactive": "The offer is inactive.",
    "search_inactive": "The search is inactive.",
    "expired": "The offer has expired: it was valid until",
    "early": "The search is not valid yet: it becomes valid at",
}


async def pair_of(service: httpx.AsyncClient, **search: Any) -> dict[str, str]:
    offer_id = await create(service, "offers", offer("ann"))
    return {"search": await create(service, "searches", offer("bob", **search)), "offer": offer_id}


async def wait_for(service: httpx.AsyncClient, pair: dict[str, str], text: str) -> str:
    """Return the page of a pair when it has this text."""
    async with asyncio.timeout(15):
        while True:
            page = (await service.get(PATH, params=pair)).text
            if text in text_of(page):
                return page
            await asyncio.sleep(0.05)


async def test_page_names_every_condition_that_is_not_met(service: httpx.AsyncClient) -> None:
    now_ms = time.time_ns() // 1_000_000
    documents = offer("ann", keywords=["bread"], validuntil=now_ms - 1, isActive=False)
    offer_id = await create(service, "offers", documents)
    changed: dict[str, Any] = {
        "at": (13.5, 52.5),
        "keywords": ["cake"],
        "validfrom": now_ms + 60_000,
        "isActive": False,
    }
    search_id = await create(service, "searches", offer("ann", **changed))
    page = (await service.get(PATH, params={"search": search_id, "offer": offer_id})).text
    text = text_of(page)
    assert "They don't match: 8 conditions of 8 are not met." in text
    for reason in REASONS.values():
        assert reason in text, reason
    assert text.count("Not met:") == 8
    assert "The distance of 6,776.7 m exceeds the radius of the offer, 500.0 m, by 6,276.7 m." in text
    assert "It has never matched." in text
    assert len(re.findall("map-circle-(?:own|search)", page)) == 4  # both circles in both drawings


async def test_page_shows_the_pair_and_what_was_reported(
    service: httpx.AsyncClient, notifications: StubNotificationServer
) -> None:
    pair = await pair_of(service, showLocation=False)
    page = await wait_for(service, pair, "The notificationserver accepted it at")
    text = text_of(page)
    assert "They match: the rule accepts this pair." in text
    assert "It matches since" in text
    assert "They share 2 keywords: “bread”, “bakery”." in text
    assert f"{pair['search']}.{pair['offer']}.1" in text
    assert text.count("location hidden from others") == 1
    assert [body["id"] for body in notifications.bodies] == [f"{pair['search']}.{pair['offer']}.1"]


async def test_pair_is_sent_by_hand_although_it_does_not_match(
    service: httpx.AsyncClient, notifications: StubNotificationServer
) -> None:
    pair = await pair_of(service, at=(13.5, 52.5))
    page = (await service.get(PATH, params=pair)).text
    assert "get the notification 1 of this pair" in text_of(page)
    form = {"search_id": pair["search"], "offer_id": pair["offer"], "encounter": "0"}
    response = await service.post(PATH, data=form)
    assert response.status_code == 303
    assert "The encounter is owed." in text_of((await service.get(response.headers["location"])).text)
    text = text_of(await wait_for(service, pair, "The notificationserver accepted it at"))
    assert "Sent by hand at" in text
    assert "It has never matched. It was sent by hand." in text
    outdated = await service.post(PATH, data=form)  # a second click
    assert outdated.status_code == 409
    assert "Nothing was sent" in text_of(outdated.text)
    name = f"{pair['search']}.{pair['offer']}"
    assert [body["id"] for body in notifications.bodies] == [f"{name}.1"]
    assert (await service.post(PATH, data={"search_id": pair["search"], "offer_id": pair["offer"]})).status_code == 303
    await wait_for(service, pair, f"{name}.2")
    page = await wait_for(service, pair, "Sent by hand at")
    while "Waits for the notificationserver" in text_of(page):
        page = await wait_for(service, pair, "Sent by hand at")
    assert [body["id"] for body in notifications.bodies] == [f"{name}.1", f"{name}.2"]


async def test_page_helps_to_choose_the_other_object(service: httpx.AsyncClient) -> None:
    pair = await pair_of(service)
    far = await create(service, "searches", offer("bob", at=(13.5, 52.5)))
    assert "Choose a search and an offer." in text_of((await service.get(PATH)).text)
    page = (await service.get(PATH, params={"offer": pair["offer"]})).text
    assert "Nearest searches with a common keyword" in text_of(page)
    assert (pair["search"] in page, far in page) == (True, False)
    listed = (await service.get("/store/searches", params={"with": pair["offer"]})).text
    assert f'href="/store/matches?search={far}&amp;offer={pair["offer"]}"' in listed
    alone = await create(service, "offers", offer("ann", keywords=["unique"]))
    assert "No search with a common keyword reaches it." in text_of(
        (await service.get(PATH, params={"offer": alone})).text
    )


async def test_wrong_and_unknown_ids_are_named_at_their_fields(service: httpx.AsyncClient) -> None:
    page = await service.get(PATH, params={"search": "x<b>", "offer": UNKNOWN})
    assert page.status_code == 422
    assert "An id has 24 hexadecimal digits." in text_of(page.text)
    assert "There is no offer with this id." in text_of(page.text)
    assert 'value="x&lt;b&gt;"' in page.text
    assert (await service.post(PATH, data={"search_id": UNKNOWN, "offer_id": UNKNOWN})).status_code == 404
    assert (await service.post(PATH, data={"search_id": {"$ne": ""}})).status_code == 422


async def test_choice_of_the_old_system_opens_the_page(service: httpx.AsyncClient) -> None:
    response = await service.post("/store/set_match", data={"type": "offer", "id": UNKNOWN})
    assert (response.status_code, response.headers["location"]) == (303, f"{PATH}?offer={UNKNOWN}")
    assert (await service.post("/store/set_match", data={"type": "x", "id": UNKNOWN})).status_code == 422
