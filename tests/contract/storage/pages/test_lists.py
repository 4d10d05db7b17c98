"""The list pages on a real MongoDB: the same objects as the API."""

import itertools
import re
import time
from urllib.parse import urljoin

import httpx
import pytest

from tests.contract.storage.api.serving import offer
from tests.contract.storage.pages.serving import create, rows_of, text_of, total_of

NEAR = (13.41, 52.51)
FAR = (2.35, 48.85)
REGION = {"center[latitude]": "52.5", "center[longitude]": "13.4", "radius": "5000"}


FILTERS: tuple[dict[str, str | list[str]], ...] = (
    {},
    {"keywords[]": ["bread"]},
    {"keywords[]": ["BREAD", "creme"]},
    {"owner": "ann"},
    {"owner": "bob & <b>", "is_active": "true"},
    {"not_owner": "ann"},
    {"is_active": "false"},
    {**REGION},
    {**REGION, "keywords[]": ["rea"]},
    {**REGION, "owner": "ann"},
    {"sw[latitude]": "50", "sw[longitude]": "10", "ne[latitude]": "54", "ne[longitude]": "14"},
    {"trusted": "true"},
    {"limit": "3"},
    {"limit": "3", "page": "1", "owner": "ann"},
)


@pytest.fixture
async def filled(service: httpx.AsyncClient) -> httpx.AsyncClient:
    """Return a client of a storage with 24 offers; 18 of them are valid."""
    now_ms = time.time_ns() // 1_000_000
    different = itertools.product(
        (["Bread"], ["bread", "Cake"], ["Crème"]), ("ann", "bob & <b>"), (NEAR, FAR), (True, False)
    )
    documents = [
        offer(owner, at=at, keywords=keywords, text=f"Text {number}", isActive=number % 5 > 0, showLocation=shown)
        | ({"validuntil": now_ms - 1000} if number % 4 == 3 else {})
        for number, (keywords, owner, at, shown) in enumerate(different)
    ]
    created = await service.post("/bulk/offers", json={"new_offers": documents, "old_offers": []})
    assert [result.get("error") for result in created.json()["results"]] == [None] * 24
    return service


async def test_same_filter_has_the_same_objects_in_the_page_and_in_the_api(filled: httpx.AsyncClient) -> None:
    numbers = []
    for query in FILTERS:
        page = await filled.get("/store/offers", params=query)
        assert page.status_code == 200, query
        listed = [each["_id"] for each in (await filled.get("/offers", params=query)).json()["data"]]
        assert rows_of(page.text) == listed, query
        everything = await filled.get("/offers", params={**query, "limit": "200", "page": "0"})
        assert total_of(page.text) == len(everything.json()["data"]), query
        numbers.append(len(listed))
    assert len(set(numbers)) > 5  # the filters differ


async def test_next_link_follows_the_cursor_and_other_links_the_page_numbers(filled: httpx.AsyncClient) -> None:
    everything = rows_of((await filled.get("/store/offers")).text)
    seen: list[str] = []
    url, texts = "/store/offers?limit=7", []
    while url:
        page = (await filled.get(url)).text
        seen += rows_of(page)
        texts.append(text_of(page))
        link = re.search(r'href="([^"]*)" rel="next"', page)
        url = urljoin(url, link[1].replace("&amp;", "&")) if link else ""
        if len(texts) == 2:
            await create(filled, "offers", offer("new"))  # a new object in front moves no row
    assert seen == everything
    assert [re.search(r"\d+ to \d+ of \d+", text)[0] for text in texts[:2]] == ["1 to 7 of 18", "8 to 14 of 18"]  # type: ignore[index]
    second = (await filled.get("/store/offers?limit=7&page=1")).text
    assert rows_of(second)[1:] == everything[7:13]


async def test_expired_objects_are_shown_when_they_are_asked_for(filled: httpx.AsyncClient) -> None:
    page = (await filled.get("/store/offers", params={"valid": "any"})).text
    assert total_of(page) == 24
    assert "expired" in text_of(page)
    assert total_of((await filled.get("/store/offers")).text) == 18


async def test_page_escapes_what_clients_have_stored(service: httpx.AsyncClient) -> None:
    hostile = "<script>alert(1)</script>"
    await create(service, "offers", offer(hostile, text=hostile, keywords=[hostile]))
    for path in (
        "/store/offers",
        f"/store/offers?owner={hostile}",
        "/store/aggregate",
        f"/store/offers?keywords={hostile}",
    ):
        page = await service.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert hostile in text_of(page.text)


@pytest.mark.parametrize(
    ("query", "field", "text"),
    [
        ({"radius": "abc", "center[latitude]": "52", "center[longitude]": "13"}, "radius", "Must be a number."),
        ({"radius": "5"}, "center-latitude", "Is required with a radius."),
        ({"center[latitude]": "95", "center[longitude]": "13", "radius": "5"}, "center-latitude", "Latitude 95.0"),
        ({"keywords": "x" * 65}, "keywords", "has 65 characters"),
        ({"owner": "x" * 257}, "owner", "Has 257 characters"),
    ],
)
async def test_wrong_filter_is_named_at_its_field_and_stays_as_typed(
    service: httpx.AsyncClient, query: dict[str, str], field: str, text: str
) -> None:
    page = await service.get("/store/offers", params=query)
    assert page.status_code == 422
    error = re.search(rf'(?s)id="{field}-error">.*?</p>', page.text)
    assert error
    assert text in text_of(error[0])
    for value in query.values():
        assert f'value="{value}"' in page.text


@pytest.mark.parametrize("query", [{"next": "x"}, {"page": "-1"}, {"with": "x"}, {"_id": "x"}])
async def test_wrong_parameter_without_a_field_is_named(service: httpx.AsyncClient, query: dict[str, str]) -> None:
    page = await service.get("/store/searches", params=query)
    assert (page.status_code, f"{next(iter(query))}: " in text_of(page.text)) == (422, True)


async def test_empty_and_unmatched_lists_say_what_to_do(service: httpx.AsyncClient) -> None:
    assert "POST /searches" in text_of((await service.get("/store/searches")).text)
    nothing = (await service.get("/store/searches", params={"keywords": "bread"})).text
    assert "?keywords=bread&amp;valid=any" in nothing
    assert "Show the first ones" in text_of((await service.get("/store/searches?page=3")).text)


async def test_owners_are_counted_with_links_to_their_objects(filled: httpx.AsyncClient) -> None:
    await create(filled, "searches", offer("bob & <b>"))
    page = (await filled.get("/store/aggregate")).text
    assert "owners 2 offers 24 searches 1" in text_of(page)
    links = re.findall(r'href="(/store/[^"?]*\?owner=[^"]*)"[^>]*>([0-9,]+)</a>', page)
    assert [number for _, number in links] == ["12", "1", "12"]
    for url, number in links:
        assert total_of((await filled.get(url.replace("&amp;", "&"))).text) == int(number)
