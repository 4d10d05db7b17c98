"""Lists: filters, order, pages and cursors, on a real MongoDB."""

import time
from typing import Any

import httpx
import pytest
from bson import Decimal128, ObjectId
from pymongo import MongoClient

from tests.contract.storage.api.serving import offer


async def owners(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    response = await client.get("/offers", params=parameters)
    assert response.status_code == 200, response.text
    return sorted(each["owner"] for each in response.json()["data"])


async def test_not_owner_wins_over_owner_and_a_circle_over_a_box(service: httpx.AsyncClient) -> None:
    for number, name in enumerate(("a", "b", "c")):
        await service.post("/offers", json=offer(name, at=(13.4 + number * 0.1, 52.5)))
    assert await owners(service, owner="a") == ["a"]
    assert await owners(service, owner="a", not_owner="b") == ["a", "c"]
    box = {"sw[latitude]": 52, "sw[longitude]": 13, "ne[latitude]": 53, "ne[longitude]": 13.55}
    assert await owners(service, **box) == ["a", "b"]
    circle = {"center[latitude]": 52.5, "center[longitude]": 13.6, "radius": 100}
    assert await owners(service, **box, **circle) == ["c"]


async def test_box_can_cross_the_antimeridian_and_span_the_earth(service: httpx.AsyncClient) -> None:
    for name, at in (("west", (-179.9, 1.0)), ("east", (179.9, 1.0)), ("berlin", (13.4, 52.5)), ("pole", (0.0, 90.0))):
        await service.post("/offers", json=offer(name, at=at))
    across = {"sw[latitude]": 0, "sw[longitude]": 179, "ne[latitude]": 2, "ne[longitude]": -179}
    assert await owners(service, **across) == ["east", "west"]
    all_ = {"sw[latitude]": -90, "sw[longitude]": -180, "ne[latitude]": 90, "ne[longitude]": 180}
    assert await owners(service, **all_) == ["berlin", "east", "pole", "west"]
    north = {"sw[latitude]": 80, "sw[longitude]": -180, "ne[latitude]": 90, "ne[longitude]": 180}
    assert await owners(service, **north) == ["pole"]


async def test_only_valid_objects_are_listed(service: httpx.AsyncClient) -> None:
    now_ms = time.time_ns() // 1_000_000
    await service.post("/offers", json=offer("always"))
    await service.post("/offers", json=offer("now", validfrom=now_ms - 1_000, validuntil=now_ms + 60_000))
    await service.post("/offers", json=offer("expired", validuntil=now_ms - 1_000))
    await service.post("/offers", json=offer("later", validfrom=now_ms + 60_000))
    await service.post("/offers", json=offer("inactive", isActive=False))
    assert await owners(service) == ["always", "inactive", "now"]
    assert await owners(service, is_active="true") == ["always", "now"]
    assert await owners(service, is_active="no") == ["inactive"]


@pytest.mark.parametrize("value", [ObjectId("0" * 24), Decimal128("1.5")])
async def test_stored_value_without_a_form_in_json_is_a_string(
    service: httpx.AsyncClient, running: dict[str, str], value: ObjectId | Decimal128
) -> None:
    name = (await service.post("/offers", json=offer("Importer"))).json()["_id"]
    client: MongoClient[dict[str, Any]] = MongoClient(running["STORAGE_MONGO_URL"])
    with client:
        changed = {"extdata": {"ref": value}, "place": {"ref": value}}
        client[running["STORAGE_DATABASE"]]["offers"].update_one({"_id": name}, {"$set": changed})
    for path in ("/offers?owner=Importer", f"/offers/{name}", "/bulk/offers/Importer"):
        (found,) = (await service.get(path)).json()["data"]
        assert found["extdata"] == {"ref": str(value)}
    assert found["place"] == {"ref": str(value)}
    (row,) = (await service.get("/bulk/extdata/Importer?names=ref")).json()["data"]
    assert row["extdata"] == {"ref": str(value)}
    page = await service.get(f"/store/details/{name}")
    assert (page.status_code, str(value) in page.text) == (200, True)


async def test_keywords_are_normalised_and_empty_ones_filter_nothing(service: httpx.AsyncClient) -> None:
    await service.post("/offers", json=offer("cafe", keywords=["Café", "Tea"], text="Cake"))
    await service.post("/offers", json=offer("bread", keywords=["Bread"], text="with coffee"))
    assert await owners(service, **{"keywords[]": ""}) == ["bread", "cafe"]
    assert await owners(service, **{"keywords[]": "CAFE"}) == ["cafe"]
    assert await owners(service, **{"keywords[]": "caf"}) == ["cafe"]
    assert await owners(service, **{"keywords[]": "coffee"}) == ["bread"]
    assert await owners(service, **{"keywords[]": "afe"}) == []
    assert await owners(service, keywords="tea") == ["cafe"]
    around = {"center[latitude]": 52.5, "center[longitude]": 13.4, "radius": 10}
    assert await owners(service, **around, **{"keywords[]": "afe"}) == ["cafe"]


async def test_rank_counts_equal_keywords_and_orders_the_list(service: httpx.AsyncClient) -> None:
    for name, keywords in (("one", ["a", "x"]), ("two", ["x", "B", "a"]), ("none", ["ab"]), ("joined", ["a", "z"])):
        await service.post("/offers", json=offer(name, keywords=keywords))
    listed = (await service.get("/offers", params={"keywords[]": ["a", "b"]})).json()["data"]
    found = [(each["owner"], each["rank"], each["isKeyword"]) for each in listed]
    assert found == [("two", 2, [1, 2]), ("joined", 1, [0]), ("one", 1, [0]), ("none", 0, [])]


IN_A_CIRCLE = {"center[latitude]": "52.5", "center[longitude]": "13.4", "radius": "10", "keywords[]": "rea"}


@pytest.mark.parametrize("parameters", [{}, {"keywords[]": "bread"}, {"owner": "walker"}, IN_A_CIRCLE])
async def test_cursor_walk_during_inserts_and_deletes_repeats_and_skips_nothing(
    service: httpx.AsyncClient, parameters: dict[str, str]
) -> None:
    async def insert(count: int, first: int) -> set[str]:
        ids = set()
        for number in range(first, first + count):
            document = offer("walker", keywords=["bread", *(f"k{number % 7}" for _ in range(number % 3))])
            ids.add((await service.post("/offers", json=document)).json()["_id"])
        return ids

    throughout, leaving = await insert(40, 0), sorted(await insert(20, 40))
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (await service.get("/offers", params={**parameters, "limit": 7, "next": cursor})).json()
        seen += [each["_id"] for each in page["data"]]
        cursor = page["next"]
        await insert(2, len(seen))
        for name in leaving[:3]:  # some of them are listed already, and one may be the last of the page
            assert (await service.delete(f"/offers/{name}")).status_code == 200
        leaving = leaving[3:]
    assert len(seen) == len(set(seen))
    assert throughout <= set(seen)


async def test_page_numbers_give_the_same_order_as_the_cursor(service: httpx.AsyncClient) -> None:
    for number in range(25):
        await service.post("/offers", json=offer("pager", keywords=[f"k{number % 5}"]))
    whole = [each["_id"] for each in (await service.get("/offers", params={"owner": "pager"})).json()["data"]]
    pages = []
    for number in range(4):
        page = await service.get("/offers", params={"owner": "pager", "limit": 10, "page": number})
        pages += [each["_id"] for each in page.json()["data"]]
    assert pages == whole
    assert len(whole) == 25


async def test_list_is_limited(service: httpx.AsyncClient) -> None:
    new = [offer("many") for _ in range(201)]
    written = await service.post("/bulk/offers", json={"new_offers": new, "old_offers": []})
    assert written.status_code == 200
    listed = (await service.get("/offers")).json()
    assert len(listed["data"]) == 200
    rest = (await service.get("/offers", params={"next": listed["next"]})).json()
    assert (len(rest["data"]), rest["next"]) == (1, None)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("page=-1", "page"),
        ("next=!", "next"),
        ("next=W10", "next"),
        ("next=WyRuZSwiIiwiIl0", "next"),
        ("_id=1", "_id"),
        ("center[latitude]=1&center[longitude]=2", "radius"),
        ("center[latitude]=91&center[longitude]=2&radius=1", "center[latitude]"),
        ("center[latitude]=1&radius=1", "center[longitude]"),
        ("sw[latitude]=1&sw[longitude]=1", "ne"),
        ("sw[latitude]=nan&sw[longitude]=1", "sw[latitude]"),
        ("keywords[]=" + "x" * 65, "keywords[]"),
        ("owner=" + "x" * 257, "owner"),
    ],
)
async def test_wrong_parameter_is_a_422_that_names_it(service: httpx.AsyncClient, query: str, field: str) -> None:
    response = await service.get(f"/offers?{query}")
    assert response.status_code == 422, response.text
    assert [error["field"] for error in response.json()["fields"]] == [field]
