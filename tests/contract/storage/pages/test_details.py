"""The page of one object: what it shows, and the changes that it sends."""

import re
from typing import Any

import httpx
import pytest

from tests.contract.storage.api.serving import DEVICE, Tracker, offer
from tests.contract.storage.pages.serving import create, inputs_of, text_of

UNKNOWN = "65f1c0ffee5eed5eed5eed01"
RICH: dict[str, Any] = {
    "text": "Fresh bread\nand <b>cake</b>",
    "keywords": ["Bread, fresh", "Cake"],
    "place": {"en": {"route": "Alexanderplatz", "locality": "Berlin"}},
    "images": ["/assets/images/17", None],
    "extdata": {"source": {"$id": 9007199254740993}},
    "validfrom": 1_700_000_000_123,
    "validuntil": 4_000_000_000_123,
    "showLocation": False,
}


async def test_page_shows_every_field(service: httpx.AsyncClient) -> None:
    name = await create(service, "offers", offer(at=(13.412345678, 52.523456789), **RICH))
    page = (await service.get(f"/store/details/{name}")).text
    text = text_of(page)
    for shown in (
        name,
        DEVICE,
        "and <b>cake</b>",
        "Bread, fresh",
        "Alexanderplatz, Berlin",
        "/assets/images/17",
        "removed picture",
        '"$id": 9007199254740993',
        "2023-11-14 22:13:20.123 UTC",
        "2096-10-02 07:06:40.123 UTC",
        "52.523457, 13.412346, radius 500 m hidden from others",
        "version 1",
        "not accepted",
    ):
        assert shown in text, shown
    assert 'class="map-drawing map-wide"' in page
    public = (await service.get(f"/offers/{name}")).json()["data"][0]["location"]["coordinates"]
    assert f"{public[1]:.6f}, {public[0]:.6f}" in text


async def test_saved_form_without_a_change_changes_nothing(service: httpx.AsyncClient, tracker: Tracker) -> None:
    name = await create(service, "offers", offer(**RICH))
    before = (await service.get(f"/offers/{name}?owner={DEVICE}")).json()["data"][0]
    path = f"/store/update/subject/{name}"
    form = inputs_of((await service.get(f"/store/details/{name}")).text, path)
    form["text"] = form["text"].replace("\n", "\r\n")  # as browsers send it
    response = await service.post(path, data=form)
    assert (response.status_code, response.headers["location"]) == (303, f"/store/details/{name}?done=unchanged")
    assert (await service.get(f"/offers/{name}?owner={DEVICE}")).json()["data"][0] == before
    await tracker.until(1)
    assert tracker.ids == [f"{name}.1.create"]


async def test_edit_changes_the_fields_and_owes_an_event(service: httpx.AsyncClient, tracker: Tracker) -> None:
    name = await create(service, "searches", offer(**RICH))
    path = f"/store/update/subject/{name}"
    form = inputs_of((await service.get(f"/store/details/{name}")).text, path)
    form |= {
        "owner": "bob",
        "text": "New",
        "keywords": " Cake ,,Bun",
        "radiusMeters": "750.5",
        "latitude": "48.1",
        "longitude": "11.5",
        "validuntil": "2090-01-31T12:00",
        "isMobile": "true",
        "showLocation": "true",
        "allowContacts": "true",
        "trusted": "true",
    }
    response = await service.post(path, data=form)
    assert (response.status_code, response.headers["location"]) == (303, f"/store/details/{name}?done=saved")
    after = (await service.get(f"/searches/{name}?owner=bob")).json()["data"][0]
    expected = {
        "owner": "bob",
        "text": "New",
        "keywords": ["Cake", "Bun"],
        "radiusMeters": 750.5,
        "location": {"type": "Point", "coordinates": [11.5, 48.1]},
        "validuntil": 3_789_547_200_000,
        "validfrom": RICH["validfrom"],
        "images": RICH["images"],
        "extdata": RICH["extdata"],
    }
    assert {field: after[field] for field in expected} == expected
    assert all(after[flag] for flag in ("isMobile", "showLocation", "allowContacts", "trusted"))
    await tracker.until(2)
    assert tracker.ids == [f"{name}.1.create", f"{name}.2.update"]
    assert tracker.requests[1][1] == "srch"


async def test_form_of_the_old_system_changes_only_what_it_sends(service: httpx.AsyncClient) -> None:
    name = await create(service, "offers", offer(isMobile=True))
    response = await service.post(f"/store/update/subject/{name}", data={"text": "New", "keywords": "a, b"})
    assert response.status_code == 303
    after = (await service.get(f"/offers/{name}")).json()["data"][0]
    assert (after["text"], after["keywords"], after["isMobile"]) == ("New", ["a", "b"], True)


async def test_wrong_fields_are_named_at_the_field_and_stay_as_typed(service: httpx.AsyncClient) -> None:
    name = await create(service, "offers", offer())
    path = f"/store/update/subject/{name}"
    form = inputs_of((await service.get(f"/store/details/{name}")).text, path)
    wrong = {
        "owner": "",
        "radiusMeters": "100001",
        "latitude": "91",
        "longitude": "east",
        "validfrom": "tomorrow",
        "keywords": "k" * 65,
    }
    response = await service.post(path, data=form | wrong | {"text": "typed <b>"})
    assert response.status_code == 422
    assert "Nothing was saved: 6 fields need a correction." in text_of(response.text)
    errors = dict(re.findall(r'(?s)id="f-(\w+)-error">(.*?)</p>', response.text))
    assert {field: text_of(error) for field, error in errors.items()} == {
        "owner": "Must not be empty.",
        "radiusMeters": "Radius 100001.0 is not between 0 and 100000 m.",
        "latitude": "Latitude 91.0 is not between -90 and 90.",
        "longitude": "Must be a number.",
        "validfrom": "Must be a time in UTC such as 2026-01-31T12:00.",
        "keywords": "The keyword kkkkkkkkkkkkkkkk... has 65 characters; at most 64 are allowed.",
    }
    kept = inputs_of(response.text, path)
    assert {field: kept[field] for field in wrong} == wrong
    assert kept["text"] == "typed <b>"
    assert (await service.get(f"/offers/{name}")).json()["data"][0]["version"] == 1


async def test_outdated_form_overwrites_nothing_and_shows_both_values(service: httpx.AsyncClient) -> None:
    name = await create(service, "offers", offer())
    page = (await service.get(f"/store/details/{name}")).text
    update, delete, deactivate = (
        f"/store/{path}" for path in (f"update/subject/{name}", f"delete/offer/{name}", f"set_active/{name}/false")
    )
    forms = {action: inputs_of(page, action) for action in (update, delete, deactivate)}
    await service.put(f"/offers/{name}", json={"text": "By another", "trusted": True})
    for action, form in forms.items():
        typed = form | ({"text": "Mine"} if action == update else {})
        response = await service.post(action, data=typed)
        assert response.status_code == 412
        assert "has changed since you opened the page" in text_of(response.text)
    stored = (await service.get(f"/offers/{name}")).json()["data"][0]
    assert (stored["text"], stored["isActive"], stored["version"]) == ("By another", True, 2)
    again = await service.post(update, data=forms[update] | {"text": "Mine"})
    assert "Stored now: By another" in text_of(again.text)
    assert "Stored now: yes" in text_of(again.text)
    form = inputs_of(again.text, update)
    assert (form["text"], form["version"], form["trusted"]) == ("Mine", "2", "false")
    assert (await service.post(update, data=form | {"trusted": "true"})).status_code == 303
    stored = (await service.get(f"/offers/{name}")).json()["data"][0]
    assert (stored["text"], stored["trusted"]) == ("Mine", True)


@pytest.mark.parametrize("version", ["9" * 5_000, "", "²", "-1"])
async def test_form_with_another_text_as_version_changes_nothing(service: httpx.AsyncClient, version: str) -> None:
    name = await create(service, "offers", offer())
    response = await service.post(f"/store/set_active/{name}/false", data={"version": version})
    assert response.status_code == 412
    assert (await service.get(f"/offers/{name}")).json()["data"][0]["isActive"] is True


async def test_object_is_deactivated_activated_and_deleted(service: httpx.AsyncClient, tracker: Tracker) -> None:
    name = await create(service, "offers", offer())
    for value, text in (("false", "It is inactive."), ("true", "It is active.")):
        action = f"/store/set_active/{name}/{value}"
        form = inputs_of((await service.get(f"/store/details/{name}")).text, action)
        response = await service.post(action, data=form)
        assert response.status_code == 303
        assert text in text_of((await service.get(response.headers["location"])).text)
        assert (await service.get(f"/offers/{name}")).json()["data"][0]["isActive"] is (value == "true")
    action = f"/store/delete/offer/{name}"
    form = inputs_of((await service.get(f"/store/details/{name}")).text, action)
    response = await service.post(action, data=form)
    assert response.headers["location"] == "/store/offers?done=deleted"
    assert "It is deleted." in text_of((await service.get("/store/offers?done=deleted")).text)
    for gone in (await service.get(f"/store/details/{name}"), await service.post(action, data={})):
        assert gone.status_code == 404
    await tracker.until(4)
    assert tracker.ids == [f"{name}.{each}" for each in ("1.create", "2.setact", "3.setact", "4.delete")]


async def test_object_can_be_matched_at_once(service: httpx.AsyncClient) -> None:
    offer_id = await create(service, "offers", offer("ann"))
    search_id = await create(service, "searches", offer("bob"))
    response = await service.post(f"/store/notify/{offer_id}")
    assert response.headers["location"] == f"/store/details/{offer_id}?done=matched"
    text = text_of((await service.get(response.headers["location"])).text)
    assert "It was matched." in text
    assert "Matches 1 search" in text
    assert f"search={search_id}&amp;offer={offer_id}" in (await service.get(f"/store/details/{offer_id}")).text
    await service.post(f"/offers/{offer_id}/set_active/false")
    assert (await service.post(f"/store/notify/{offer_id}")).headers["location"].endswith("?done=not_matched")
    assert (await service.post(f"/store/notify/{UNKNOWN}")).status_code == 404
