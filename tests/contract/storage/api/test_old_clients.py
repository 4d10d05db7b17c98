"""The calls of the clients of the old system, as they send them: each gets the shape that it expects, or a 405.

W is the website, O the importers, C the consumers, M the app. Ruby clients write lists as `keywords[]=a`.
"""

import json
from typing import Any

import httpx
import pytest

from tests.contract.storage.api.serving import DEVICE, Tracker, offer

OLD_FIELDS = {
    *("_id", "owner", "text", "keywords", "location", "radiusMeters", "place", "showLocation", "allowContacts"),
    *("isMobile", "isActive", "trusted", "images", "extdata", "validfrom", "validuntil", "created", "modified"),
}
OLD_DOCUMENT = {
    "owner": "ann@example.com_0123456789",
    "text": "Fresh bread",
    "keywords": ["fresh", "bread"],
    "location": {"type": "Point", "coordinates": [13.4, 52.5]},
    "place": {"en": {"route": "Karl-Marx-Allee", "street_number": "1", "country": "Germany"}},
    "validfrom": 1_500_000_000_000,
    "validuntil": 4_000_000_000_000,
    "isMobile": False,
    "images": ["/assets/images/17", None],
    "extdata": {},
    "__v": 0,
}
FORM = (
    "owner=ann&text=Fresh+bread&keywords%5B%5D=fresh&keywords%5B%5D=bread&location%5Btype%5D=Point"
    "&location%5Bcoordinates%5D%5B%5D=13.4&location%5Bcoordinates%5D%5B%5D=52.5&radiusMeters=500&isMobile=false"
    "&validfrom=1500000000000&extdata%5Blink%5D=x"
)
AS_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def created(client: httpx.AsyncClient, collection: str = "offers", **changed: Any) -> str:
    response = await client.post(f"/{collection}", json=OLD_DOCUMENT | changed)
    assert response.status_code == 200, response.text
    name: str = response.json()["_id"]
    return name


@pytest.mark.parametrize(
    "query",
    [
        "keywords%5B%5D=",
        "keywords[]=bread&keywords[]=rolls",
        "keywords[0]=bread&keywords[1]=rolls",
        "keywords[]=&not_owner=bob&is_active=true",
        "sw[latitude]=52.4&sw[longitude]=13.3&ne[latitude]=52.6&ne[longitude]=13.5&keywords[]=rea",
        "sw%5Blatitude%5D=52.4&sw%5Blongitude%5D=13.3&ne%5Blatitude%5D=52.6&ne%5Blongitude%5D=13.5",
        "center[latitude]=52.5&center[longitude]=13.4&radius=1000&sw[latitude]=0&sw[longitude]=0",
        "owner=ann%40example.com_0123456789",
        "owner=ann%40example.com_0123456789&keywords%5B%5D=",
    ],
)
@pytest.mark.parametrize("collection", ["offers", "searches"])
async def test_website_lists_objects(service: httpx.AsyncClient, collection: str, query: str) -> None:
    name = await created(service, collection)
    listed = (await service.get(f"/{collection}?{query}")).json()
    assert listed["version"] == "1.0"
    assert [each["_id"] for each in listed["data"]] == [name]
    document = listed["data"][0]
    assert document.keys() >= {*OLD_FIELDS, "rank", "isKeyword"}
    assert document["rank"] == len(document["isKeyword"])
    assert document["location"]["type"] == "Point"


async def test_website_creates_changes_and_deletes_with_whole_documents(service: httpx.AsyncClient) -> None:
    for collection in ("offers", "searches"):
        name = await created(service, collection)
        owned = f"/{collection}?owner=ann%40example.com_0123456789"
        read = (await service.get(owned)).json()["data"][0]
        assert {field: read[field] for field in OLD_DOCUMENT if field != "__v"} == {
            field: value for field, value in OLD_DOCUMENT.items() if field != "__v"
        }
        # It sends back all that it has read, with its own changes.
        changed = (await service.put(f"/{collection}/{name}", json={**read, "text": "Stale"})).json()
        assert (changed["text"], changed["keywords"], changed["images"]) == ("Stale", read["keywords"], read["images"])
        # A location that it read without the owner is the public one. It does not move the object.
        public = (await service.get(f"/{collection}?_id={name}")).json()["data"][0]
        assert (public["location"] != read["location"], public["place"]) == (True, {})
        kept = (await service.put(f"/{collection}/{name}", json={**public, "text": "New"})).json()
        assert (kept["location"], kept["place"], kept["text"]) == (read["location"], read["place"], "New")
        before = await service.put(f"/{collection}/{name}", params={"return": "before"}, json={"isActive": False})
        assert before.json()["isActive"] is True
        assert (await service.delete(f"/{collection}/{name}")).json()["_id"] == name


async def test_forms_are_read_as_documents(service: httpx.AsyncClient) -> None:
    made = await service.post("/offers", content=FORM, headers=AS_FORM)
    assert made.status_code == 200, made.text
    document = made.json()
    assert (document["keywords"], document["location"]["coordinates"]) == (["fresh", "bread"], [13.4, 52.5])
    assert (document["isMobile"], document["extdata"]) == (False, {"link": "x"})
    path = f"/offers/{document['_id']}"
    changed = await service.put(path, content="text=Stale&keywords[]=", headers=AS_FORM)
    assert (changed.json()["text"], changed.json()["keywords"]) == ("Stale", [])
    as_curl = await service.put(path, content=json.dumps({"text": "JSON"}), headers=AS_FORM)
    assert as_curl.json()["text"] == "JSON"
    wrong = await service.post("/offers", content="owner[$ne]=&keywords[]=a&location=1", headers=AS_FORM)
    assert sorted(each["field"] for each in wrong.json()["fields"]) == ["location", "owner"]


@pytest.mark.parametrize("owner", ["M\u00fcller", "M%C3%BCller"])
async def test_form_is_read_as_utf_8_with_and_without_escapes(service: httpx.AsyncClient, owner: str) -> None:
    made = await service.post("/offers", content=f"{FORM}&owner={owner}".encode(), headers=AS_FORM)
    assert made.json()["owner"] == "M\u00fcller"


async def test_form_or_query_that_is_not_utf_8_is_refused(service: httpx.AsyncClient) -> None:
    for owner in (b"M\xfcller", b"M%FCller"):
        made = await service.post("/offers", content=FORM.encode() + b"&owner=" + owner, headers=AS_FORM)
        assert made.status_code == 422, made.text
        assert made.json()["fields"] == [{"field": "body", "detail": "is not UTF-8"}]
    read = await service.get("/offers?owner=M%FCller")
    assert read.status_code == 422, read.text
    assert read.json()["fields"] == [{"field": "query", "detail": "is not UTF-8"}]


@pytest.mark.parametrize("form", ["{search}_{offer}", "{search}&_id={offer}", "{offer}_undefined&_id[]={search}"])
async def test_website_and_chatbot_read_both_sides_of_a_chat(service: httpx.AsyncClient, form: str) -> None:
    search, offered = await created(service, "searches"), await created(service, "offers", owner="bob")
    both = (await service.get(f"/chat/byids?_id={form.format(search=search, offer=offered)}")).json()
    assert {kind: [each["_id"] for each in both[kind]] for kind in both} == {"offers": [offered], "searches": [search]}
    assert both["offers"][0]["rank"] == 2
    assert (await service.get("/chat/byids?_id=undefined")).json() == {"offers": [], "searches": []}
    assert (await service.get(f"/chat?_id={offered}")).json()[0]["_id"] == offered
    assert (await service.get("/chat?_id=undefined")).json() == {}


async def test_importer_replaces_its_offers(service: httpx.AsyncClient, tracker: Tracker) -> None:
    new = [OLD_DOCUMENT | {"owner": "GeonamesOrg", "extdata": {"geoid": str(number)}} for number in range(3)]
    assert (await service.post("/bulk/offers", json={"new_offers": new, "old_offers": []})).json()["status"] == "ok"
    read = (await service.get("/bulk/offers/GeonamesOrg")).json()
    assert (read["version"], len(read["data"])) == ("1.0", 3)
    assert read["data"][0].keys() >= OLD_FIELDS
    first, second, _ = read["data"]
    body = {
        "new_offers": [],
        "old_offers": [{**first, "text": "Renamed"}],
        "remove_offers": [{"_id": second["_id"]}],
    }
    assert (await service.post("/bulk/offers", json=body)).json()["status"] == "ok"
    box = "sw[latitude]=52&sw[longitude]=13&ne[latitude]=53&ne[longitude]=14"
    texts = [each["text"] for each in (await service.get(f"/bulk/offers/GeonamesOrg?{box}")).json()["data"]]
    assert sorted(texts) == ["Fresh bread", "Renamed"]
    assert (await service.delete("/bulk/offers/GeonamesOrg")).json()["status"] == "ok"
    assert (await service.get("/searches?owner=GeonamesOrg")).json()["data"] == []  # the export
    await tracker.until(1)
    assert {kind for _, kind, _ in tracker.requests} == {"bud"}


@pytest.mark.parametrize("body", [{"new_offers": []}, {"old_offers": []}, {}])
async def test_bulk_request_needs_no_empty_lists(service: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await service.post("/bulk/offers", json=body)).json() == {"status": "ok", "results": []}


async def test_app_adds_and_reads_channels(phone: httpx.AsyncClient) -> None:
    search = await created(phone, "searches", allowContacts=True)
    offered = await created(phone, "offers", owner="bob", allowContacts=True)
    sent = {"searchid": search, "offerid": offered, "url": "sendbird_group_channel_1"}
    as_json = (await phone.post("/channels", json=sent)).json()
    as_form = (await phone.post("/channels", data=sent)).json()
    assert as_json == as_form  # the same channel
    assert (await phone.get(f"/channels/{search}/{offered}")).json() == [as_json]
    assert as_json.keys() >= {"searchid", "offerid", "url", "created"}


@pytest.mark.parametrize(
    "path",
    [
        "/offers/{id}/notify",
        "/searches/{id}/notify",
        "/offers/{id}/set_active/true",
        "/searches/{id}/set_active/false",
        "/bulk/notify_searchers/GeonamesOrg",
        "/store/geo?di=0123456789abcdef&lt=52.6&lg=13.5&a=10",
    ],
)
async def test_get_that_changed_something_is_a_405_and_the_named_method_does_it(
    service: httpx.AsyncClient, path: str
) -> None:
    collection = "searches" if path.startswith("/searches") else "offers"
    name = await created(service, collection, owner=DEVICE, isMobile=True)
    before = (await service.get(f"/{collection}/{name}?owner={DEVICE}")).json()
    refused = await service.get(path.format(id=name))
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert "Use POST" in refused.json()["detail"]
    assert (await service.get(f"/{collection}/{name}?owner={DEVICE}")).json() == before
    done = await service.post(path.format(id=name))
    assert (done.status_code, done.json()["status"]) == (200, "donegeo" if "geo" in path else "ok")


@pytest.mark.parametrize("path", ["/offers", "/offers/{id}", "/chat?_id={id}", f"/bulk/offers/{DEVICE}"])
async def test_head_has_the_head_of_get_and_options_names_the_methods(service: httpx.AsyncClient, path: str) -> None:
    name = (await service.post("/offers", json=offer())).json()["_id"]
    read, head = await service.get(path.format(id=name)), await service.head(path.format(id=name))
    assert (head.status_code, head.content) == (read.status_code, b"")
    assert head.headers.get("etag") == read.headers.get("etag")
    options = await service.options(path.format(id=name))
    assert (options.status_code, options.content) == (204, b"")
    assert {"GET", "HEAD", "OPTIONS"} <= set(options.headers["allow"].split(", "))
