"""Who sees the pages, and which requests change something."""

import re

import httpx
import pytest
from pymongo.errors import AutoReconnect, ExecutionTimeout

from services.storage.store import ObjectConflict
from services.storage.store.lists import ListStore
from tests.contract.storage.api.serving import APP, SERVICE, client_of, offer, storage_process
from tests.contract.storage.pages.serving import create, text_of

UNKNOWN = "65f1c0ffee5eed5eed5eed01"
PAGES = ("/", "/store", "/store/offers", "/store/aggregate", "/store/matches", f"/store/details/{UNKNOWN}")


async def test_page_needs_the_credentials_of_a_service(running: dict[str, str], phone: httpx.AsyncClient) -> None:
    token = (await phone.post("/devices/0123456789abcdef/token")).json()["token"]
    async with client_of(running, None) as stranger, client_of(running, APP, token) as owner:
        refused = [await stranger.get(path, headers={"Accept": "text/html"}) for path in PAGES]
        refused.append(await owner.get("/store/offers", headers={"Accept": "text/html"}))
    for response in refused:
        assert response.status_code == 401, response.url
        assert "Log in first" in text_of(response.text)
        assert response.headers["content-security-policy"].startswith("default-src 'none'")


async def test_styles_need_no_login_and_pages_lead_to_searches(
    running: dict[str, str], service: httpx.AsyncClient
) -> None:
    for path in ("/", "/store"):
        assert (await service.get(path)).headers["location"] == "/store/searches"
    page = (await service.get("/store/searches")).text
    style = page.partition('<link rel="stylesheet" href="')[2].partition('"')[0]
    async with client_of(running, None) as stranger:
        assert (await stranger.get(style)).status_code == 200


async def test_get_changes_nothing_and_names_the_method(service: httpx.AsyncClient) -> None:
    for path in (
        f"set_match?type=offer&id={UNKNOWN}",
        f"delete/offer/{UNKNOWN}",
        f"delete/search/{UNKNOWN}",
        f"update/subject/{UNKNOWN}",
        f"set_active/{UNKNOWN}/false",
        f"notify/{UNKNOWN}",
    ):
        response = await service.get(f"/store/{path}", headers={"Accept": "text/html"})
        assert (response.status_code, response.headers["allow"]) == (405, "POST"), path
        assert "Use POST." in text_of(response.text)


async def test_geo_stays_a_path_of_the_api(service: httpx.AsyncClient) -> None:
    response = await service.get("/store/geo")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"] == "method_not_allowed"


async def test_page_of_another_site_changes_nothing(service: httpx.AsyncClient) -> None:
    name = await create(service, "offers", offer())
    response = await service.post(f"/store/delete/offer/{name}", data={}, headers={"Origin": "https://example.com"})
    assert response.status_code == 403
    assert (await service.get(f"/offers/{name}")).status_code == 200


async def test_body_that_is_no_form_is_refused(service: httpx.AsyncClient) -> None:
    name = await create(service, "offers", offer())
    path = f"/store/update/subject/{name}"
    assert (await service.post(path, json={"text": "x"})).status_code == 415
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await service.post(path, content=b"text=%ff", headers=form)).status_code == 400
    assert (await service.post(path, content=b"a&" * 200, headers=form)).status_code == 400
    assert (await service.post(path, content=b"a" * 1_048_577, headers=form)).status_code == 413


async def test_unknown_object_is_an_error_page(service: httpx.AsyncClient) -> None:
    for path, status in ((f"/store/details/{UNKNOWN}", 404), ("/store/details/x", 422), ("/store/no-such-page", 404)):
        response = await service.get(path, headers={"Accept": "text/html"})
        assert response.status_code == status
        assert f"Status {status}" in text_of(response.text)


async def test_failure_is_an_error_page_with_an_id(
    own_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: dict[str, Exception] = {
        "The database does not respond.": AutoReconnect("no server"),
        "did not finish this within 10 s. Choose fewer objects by a filter.": ExecutionTimeout("slow"),
        "Other writers changed this at each attempt.": ObjectConflict("busy"),
    }
    error: Exception

    async def fail(*_: object, **__: object) -> None:
        raise error

    async with storage_process(own_environ), client_of(own_environ, SERVICE) as client:
        monkeypatch.setattr(ListStore, "page", fail)
        for text, error in failures.items():  # noqa: B007 - `fail` raises it
            response = await client.get("/store/offers", headers={"Accept": "text/html"})
            assert response.status_code == 503
            assert text in text_of(response.text)
            assert re.search(r"Status 503 · id [0-9a-f]{8}", text_of(response.text))
            plain = await client.get("/store/offers")
            assert (plain.status_code, text in plain.text, "<" in plain.text) == (503, True, False)
