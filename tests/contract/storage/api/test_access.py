"""Who may change what, and who sees a true location, on a real MongoDB."""

import json

import httpx
import pytest

from services.storage.settings import Settings
from tests.contract.storage.api.serving import APP, BERLIN, DEVICE, client_of, documents, offer


async def test_requests_without_valid_credentials_are_refused(running: dict[str, str]) -> None:
    # Other tests send from another address, so the delay after wrong passwords does not concern them.
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.9")
    for credentials in (None, ("storage", "wrong password"), ("app", "a secret of the test")):
        async with client_of(running, credentials, transport=elsewhere) as client:
            response = await client.get("/offers")
            assert (response.status_code, response.json()["version"]) == (401, "1.0")
            assert response.headers["www-authenticate"].startswith("Basic ")


async def test_phone_reads_and_creates_and_changes_only_with_its_token(
    running: dict[str, str], phone: httpx.AsyncClient, service: httpx.AsyncClient
) -> None:
    created = await phone.post("/offers", json=offer(trusted=True))
    assert (created.status_code, created.json()["trusted"]) == (200, False)
    path = f"/offers/{created.json()['_id']}"
    assert (await phone.get("/offers")).status_code == 200
    assert (await phone.put(path, json={"text": "x"})).status_code == 403
    issued = await phone.post(f"/devices/{DEVICE}/token")
    assert issued.status_code == 201
    assert (await phone.post(f"/devices/{DEVICE}/token")).status_code == 409
    assert (await phone.post("/offers", json=offer())).status_code == 403
    assert (await phone.delete(path)).status_code == 403
    other = (await phone.post("/devices/fedcba9876543210/token")).json()["token"]
    async with client_of(running, ("app", running["STORAGE_APP_PASSWORD"]), other) as stranger:
        assert (await stranger.put(path, json={"text": "x"})).status_code == 403
        assert (await stranger.post("/offers", json=offer())).status_code == 403
    async with client_of(running, ("app", running["STORAGE_APP_PASSWORD"]), issued.json()["token"]) as owner:
        assert (await owner.put(path, json={"text": "mine", "trusted": True})).json()["trusted"] is False
        assert (await owner.put(path, json={"owner": "Importer"})).status_code == 403
        assert (await owner.post(f"{path}/set_active/false")).status_code == 200
        assert (await owner.post("/bulk/offers", json={"new_offers": []})).status_code == 403
    assert (await service.put(path, json={"trusted": True})).json()["trusted"] is True
    assert (await service.delete(path)).status_code == 200


async def test_token_is_stored_hashed_and_only_for_devices(
    running: dict[str, str], phone: httpx.AsyncClient, service: httpx.AsyncClient
) -> None:
    token = (await phone.post(f"/devices/{DEVICE}/token")).json()["token"]
    stored = documents(running["STORAGE_MONGO_URL"], running["STORAGE_DATABASE"], "devices")
    assert len(stored) == 1
    assert token not in json.dumps(stored, default=str)
    assert (await phone.post("/devices/Importer/token")).status_code == 403
    replaced = (await service.post(f"/devices/{DEVICE}/token")).json()["token"]
    async with client_of(running, ("app", running["STORAGE_APP_PASSWORD"]), token) as old:
        assert (await old.get("/offers")).status_code == 401
    async with client_of(running, ("app", running["STORAGE_APP_PASSWORD"]), replaced) as new:
        assert (await new.get("/offers")).status_code == 200


async def test_page_of_another_host_changes_nothing(service: httpx.AsyncClient) -> None:
    response = await service.post("/offers", json=offer(), headers={"Origin": "https://example.com"})
    assert (response.status_code, (await service.get("/offers")).json()["data"]) == (403, [])


async def test_channel_is_created_only_if_both_owners_accept_contacts(
    phone: httpx.AsyncClient, service: httpx.AsyncClient
) -> None:
    async def channel(*, offer_accepts: bool, search_accepts: bool) -> httpx.Response:
        sent = offer("a", allowContacts=offer_accepts), offer("b", allowContacts=search_accepts)
        offer_id = (await service.post("/offers", json=sent[0])).json()["_id"]
        search_id = (await service.post("/searches", json=sent[1])).json()["_id"]
        body = {"searchid": search_id, "offerid": offer_id, "url": "channel_1"}
        response = await phone.post("/channels", json=body)
        stored = (await phone.get(f"/channels/{search_id}/{offer_id}")).json()
        assert stored == ([response.json()] if response.is_success else [])
        return response

    assert (await channel(offer_accepts=True, search_accepts=False)).status_code == 403
    assert (await channel(offer_accepts=False, search_accepts=True)).status_code == 403
    assert (await channel(offer_accepts=True, search_accepts=True)).json()["url"] == "channel_1"


async def test_geo_moves_mobile_objects_and_ignores_older_fixes(
    running: dict[str, str], phone: httpx.AsyncClient, service: httpx.AsyncClient
) -> None:
    mobile = (await service.post("/searches", json=offer(isMobile=True))).json()["_id"]
    fixed = (await service.post("/offers", json=offer())).json()["_id"]
    query = {"di": DEVICE, "lt": "52.6", "lg": "13.5", "a": "10", "ts": "2000"}
    assert (await phone.post("/store/geo", params=query)).status_code == 403
    token = (await phone.post(f"/devices/{DEVICE}/token")).json()["token"]
    async with client_of(running, APP, token) as owner:
        assert (await owner.post("/store/geo", params={**query, "di": "fedcba9876543210"})).status_code == 403
        at_its_place = await owner.post("/store/geo", params={**query, "lt": "52.5", "lg": "13.4", "ts": "500"})
        assert at_its_place.json()["results"][0]["_id"] == mobile
    moved = (await service.post("/store/geo", params=query)).json()
    assert moved == {"status": "donegeo", "results": [{"kind": "search", "_id": mobile, "effect": "moved"}]}
    stale = (await service.post("/store/geo", params={**query, "lt": "1", "ts": "1000"})).json()
    assert (stale["status"], stale["results"][0]["effect"]) == ("stale", "stale")
    inexact = (await service.post("/store/geo", json={**query, "lt": 1, "a": 501, "ts": 3000})).json()
    assert inexact["results"][0]["effect"] == "inexact"
    at = (await service.get(f"/searches/{mobile}")).json()["data"][0]["location"]["coordinates"]
    assert at == [13.5, 52.6]
    at = (await service.get(f"/offers/{fixed}")).json()["data"][0]["location"]["coordinates"]
    assert at == list(BERLIN)
    wrong = await service.post("/store/geo", params={"di": DEVICE, "lt": "x", "lg": "1"})
    assert wrong.json()["fields"][0]["field"] == "lt"


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"STORAGE_HOST": "0.0.0.0"}, "STORAGE_PASSWORD is not set"),
        ({"STORAGE_PASSWORD": "short"}, "fewer than 12 characters"),
        ({"STORAGE_APP_USER": "storage", "STORAGE_APP_PASSWORD": "long enough to pass"}, "must differ"),
        ({"STORAGE_MONGO_URL": "redis://x"}, "must begin with mongodb://"),
    ],
)
def test_settings_that_open_the_service_are_refused(changed: dict[str, str], error: str) -> None:
    with pytest.raises(Exception, match=error):
        Settings.from_env(changed)
