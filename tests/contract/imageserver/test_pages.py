"""The page of operators: the list with its search and its pages, and deletions by a form."""

import hashlib
import re
import secrets
import time

import httpx
import pytest

from tests.contract.imageserver.conftest import AddNumber, Start
from tests.contract.imageserver.serving import PHONE, ImageServer, jpeg

BROWSER = {"Accept": "text/html"}


def page(server: ImageServer, **parameters: str) -> httpx.Response:
    return server.client.get("/assets", params=parameters, headers=BROWSER)


def shown(response: httpx.Response) -> list[str]:
    """Return the ids of the pictures in the order of the page."""
    assert response.status_code == 200, response.text
    return re.findall(r'<th scope="row"><a class="mono" href="/assets/images/([0-9a-f]{64})"', response.text)


@pytest.fixture(scope="module")
def stored(shared_server: ImageServer) -> list[str]:
    """The ids of 12 pictures, oldest first."""
    ids = []
    for seed in range(12):
        content = jpeg(500 + seed)
        shared_server.path_of(content)
        ids.append(hashlib.sha256(content).hexdigest())
        time.sleep(0.002)  # the list is in the order of the time in ms
    return ids


def test_list_has_pages_of_ten_newest_first(server: ImageServer, stored: list[str]) -> None:
    first = page(server)
    assert shown(first) == stored[:1:-1]
    [older] = re.findall(r'href="(/assets\?after=[^"]+)" rel="next"', first.text)
    second = server.client.get(older, headers=BROWSER)
    assert shown(second) == stored[1::-1]
    assert 'rel="next"' not in second.text


def test_number_of_rows_is_kept(server: ImageServer, stored: list[str]) -> None:
    first = page(server, per_page="5")
    assert shown(first) == stored[:6:-1]
    [older] = re.findall(r'href="(/assets\?per_page=5&amp;after=[^"]+)" rel="next"', first.text)
    assert shown(server.client.get(older.replace("&amp;", "&"), headers=BROWSER)) == stored[6:1:-1]


def test_totals_are_shown(server: ImageServer, stored: list[str]) -> None:
    assert f"<dt>Pictures</dt> <dd>{len(stored)}</dd>" in page(server).text


def test_size_of_all_files_is_summed_once_a_minute(start: Start) -> None:
    server = start()
    for count in (0, 1):
        facts = dict(re.findall(r"<dt>(\w+)</dt> <dd>([^<]+)</dd>", page(server).text))
        assert facts == {"Pictures": str(count), "Stored": "0 bytes"}
        server.path_of(jpeg(601))


def test_search_finds_ids_and_keys(server: ImageServer, stored: list[str]) -> None:
    key = secrets.token_hex(32)
    assert server.upload(jpeg(503), key).status_code == 200
    assert shown(page(server, q=stored[7])) == [stored[7]]
    assert shown(page(server, q=stored[7][:8].upper())) == [stored[7]]
    assert shown(page(server, q=f"/assets/images/{stored[7]}/thumb")) == [stored[7]]
    assert shown(page(server, q=key)) == shown(page(server, q=key[:9])) == [stored[3]]
    assert "No picture has this id or key" in page(server, q="f" * 64).text


def test_search_for_six_decimal_digits_finds_keys_and_numbers(
    server: ImageServer, stored: list[str], add_number: AddNumber
) -> None:
    assert server.upload(jpeg(504), f"482913{secrets.token_hex(29)}").status_code == 200
    add_number(stored[5], "482913")
    assert shown(page(server, q="482913")) == [stored[5], stored[4]]


def test_search_finds_the_day_of_an_upload(server: ImageServer, stored: list[str]) -> None:
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert len(shown(page(server, date=today, per_page="100"))) == len(stored)
    assert "No picture has this" in page(server, date="2001-01-01").text


@pytest.mark.parametrize("wrong", [{"q": "xyz"}, {"date": "1.2.2026"}, {"per_page": "1000"}, {"after": "x"}])
def test_wrong_parameter_is_named(server: ImageServer, wrong: dict[str, str]) -> None:
    response = page(server, **wrong)
    assert response.status_code == 422
    assert next(iter(wrong.values())) in response.text


def test_form_of_a_browser_deletes_and_returns_to_the_list(start: Start) -> None:
    server = start()
    path = server.path_of(jpeg(600))
    asset_id = path.rpartition("/")[2]
    [action] = re.findall(r'action="(/asset/[^"]+/delete)"', page(server).text)
    response = server.client.post(action, headers={**BROWSER, "Origin": server.url})
    assert (response.status_code, response.headers["location"]) == (303, "/assets")
    assert asset_id not in page(server).text
    assert "There is no picture yet" in page(server).text


def test_form_for_a_picture_that_is_gone_shows_an_error_page(server: ImageServer) -> None:
    path = f"/asset/{'0' * 64}/delete"
    shown_to_a_browser = server.client.post(path, headers={**BROWSER, "Origin": server.url})
    assert shown_to_a_browser.status_code == 404
    assert "<h1>" in shown_to_a_browser.text
    assert server.client.post(path).json()["error"] == "not_found"


def test_form_of_another_site_deletes_nothing(server: ImageServer, stored: list[str]) -> None:
    headers = {**BROWSER, "Origin": "https://other.example"}
    assert server.client.post(f"/asset/{stored[0]}/delete", headers=headers).status_code == 403
    assert server.reader.get(f"/assets/images/{stored[0]}").status_code == 200


def test_page_needs_the_login_of_a_service(server: ImageServer) -> None:
    assert httpx.get(f"{server.url}/assets", headers=BROWSER).status_code == 401
    assert httpx.get(f"{server.url}/assets", headers=BROWSER, auth=PHONE).status_code == 403
    assert server.client.get("/").headers["location"] == "/assets"


def test_static_files_need_no_login(server: ImageServer) -> None:
    paths = re.findall(r'(?:src|href)="(/static/[^"]+)"', page(server).text)
    assert len(paths) >= 4
    for path in paths:
        assert server.reader.get(path).status_code == 200


def test_unknown_page_is_an_error_page_for_a_browser(server: ImageServer) -> None:
    assert "<h1>" in server.client.get("/nothing", headers=BROWSER).text
    assert server.client.get("/nothing").json()["error"] == "not_found"
