"""One object through its life, over HTTP on a real MongoDB."""

import re

import httpx
import pytest

from tests.contract.storage.api.serving import DEVICE, Tracker, offer


async def test_object_is_created_listed_changed_and_deleted(service: httpx.AsyncClient, tracker: Tracker) -> None:
    created = await service.post("/offers", json=offer())
    assert created.status_code == 200, created.text
    document = created.json()
    assert re.fullmatch("[0-9a-f]{24}", document["_id"])
    assert created.headers["etag"] == '"1"'
    path = f"/offers/{document['_id']}"
    listed = (await service.get("/offers", params={"keywords[]": "BREAD"})).json()
    assert listed["version"] == "1.0"
    assert [(each["_id"], each["rank"], each["isKeyword"]) for each in listed["data"]] == [(document["_id"], 1, [0])]
    changed = await service.put(path, json={"text": "Stale bread"})
    assert (changed.json()["text"], changed.json()["keywords"]) == ("Stale bread", ["Bread", "Bakery"])
    read = (await service.get(path, params={"owner": DEVICE})).json()["data"][0]
    assert {name: read[name] for name in changed.json()} == changed.json()
    deleted = await service.delete(path)
    assert (deleted.status_code, deleted.json()["_id"]) == (200, document["_id"])
    assert (await service.get(path)).status_code == 404
    assert (await service.get("/offers")).json()["data"] == []
    name = document["_id"]
    await tracker.until(3)
    assert tracker.ids == [f"{name}.1.create", f"{name}.2.update", f"{name}.3.delete"]
    assert tracker.requests[0][1:] == (
        "offr",
        {
            "action": "create",
            "_id": name,
            "isact": "true",
            "title": "Fresh bread",
            "lat": "52.5",
            "lng": "13.4",
            "radi": "500",
        },
    )


async def test_put_returns_the_object_before_the_change_when_asked(service: httpx.AsyncClient) -> None:
    name = (await service.post("/searches", json=offer())).json()["_id"]
    before = await service.put(f"/searches/{name}", params={"return": "before"}, json={"text": "New"})
    assert before.json()["text"] == "Fresh bread"
    assert before.headers["etag"] == '"2"'


async def test_put_without_a_difference_makes_no_version_and_no_event(
    service: httpx.AsyncClient, tracker: Tracker
) -> None:
    name = (await service.post("/offers", json=offer())).json()["_id"]
    await service.put(f"/offers/{name}", json=offer())
    last = await service.put(f"/offers/{name}", json={"text": "New"})
    assert last.json()["version"] == 2
    await tracker.until(2)
    assert tracker.ids == [f"{name}.1.create", f"{name}.2.update"]


async def test_change_fails_when_if_match_names_another_version(service: httpx.AsyncClient) -> None:
    name = (await service.post("/offers", json=offer())).json()["_id"]
    path = f"/offers/{name}"
    assert (await service.put(path, json={"text": "b"}, headers={"If-Match": '"1"'})).status_code == 200
    for request in (
        service.put(path, json={"text": "c"}, headers={"If-Match": '"1"'}),
        service.delete(path, headers={"If-Match": '"1"'}),
        service.post(f"{path}/set_active/false", headers={"If-Match": '"1"'}),
    ):
        assert (await request).status_code == 412
    assert (await service.get(path)).json()["data"][0]["text"] == "b"
    for tag, status in (('"2"', 304), ('"1", W/"2"', 304), ("*", 304), ('"1"', 200)):
        assert (await service.get(path, headers={"If-None-Match": tag})).status_code == status
    for tag, status in (('"1", "2"', 200), ("*", 200), ('W/"3"', 412)):
        changed = await service.put(path, json={"text": tag}, headers={"If-Match": tag})
        assert changed.status_code == status, tag


async def test_null_sets_a_field_to_its_default_and_other_fields_stay(service: httpx.AsyncClient) -> None:
    sent = offer(radiusMeters=900, validuntil=4_000_000_000_000, extdata={"a": 1}, images=["/x"])
    name = (await service.post("/offers", json=sent)).json()["_id"]
    nulls = {"radiusMeters": None, "validuntil": None, "extdata": None}
    changed = (await service.put(f"/offers/{name}", json=nulls)).json()
    assert (changed["radiusMeters"], changed["validuntil"], changed["extdata"]) == (500, None, {})
    assert (changed["images"], changed["keywords"], changed["text"]) == (["/x"], sent["keywords"], sent["text"])
    refused = await service.put(f"/offers/{name}", json={"keywords": None, "text": "New"})
    assert [error["field"] for error in refused.json()["fields"]] == ["keywords"]
    assert (await service.get(f"/offers/{name}")).json()["data"][0]["text"] == sent["text"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/offers/65f1c0ffee5eed5eed5eed01/set_active/true", "POST"),
        ("GET", "/searches/65f1c0ffee5eed5eed5eed01/notify", "POST"),
        ("GET", "/bulk/notify_searchers/Importer", "POST"),
        ("GET", "/store/geo", "POST"),
        ("PATCH", "/offers/65f1c0ffee5eed5eed5eed01", "DELETE, GET, HEAD, PUT"),
        ("DELETE", "/offers", "GET, HEAD, POST"),
    ],
)
async def test_state_change_by_another_method_is_a_405_that_names_the_method(
    service: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await service.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert allowed in response.json()["detail"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", {"$ne": None}),
        ("owner", ""),
        ("text", {"$where": "sleep(1)"}),
        ("keywords", "bread"),
        ("keywords", [{"$gt": ""}]),
        ("keywords", [str(number) for number in range(33)]),
        ("location", {"type": "Point", "coordinates": [181, 0]}),
        ("location", None),
        ("radiusMeters", {"$gt": 0}),
        ("radiusMeters", 100_001),
        ("validuntil", "tomorrow"),
        ("isActive", 1),
        ("images", [1]),
        ("extdata", [1]),
        ("extdata", {"n": 2**64}),
    ],
)
async def test_wrong_field_is_a_422_that_names_it(service: httpx.AsyncClient, field: str, value: object) -> None:
    response = await service.post("/offers", json=offer() | {field: value})
    assert response.status_code == 422, response.text
    assert [error["field"] for error in response.json()["fields"]] == [field]


async def test_all_missing_fields_are_named_together(service: httpx.AsyncClient) -> None:
    response = await service.post("/offers", json={"radiusMeters": -1})
    named = sorted(error["field"] for error in response.json()["fields"])
    assert named == ["keywords", "location", "owner", "radiusMeters"]


async def test_hostile_values_are_stored_and_returned_as_values(service: httpx.AsyncClient) -> None:
    extdata = {"$where": "1", "$ref": 5, "$id": {"$ne": None}, "a.b": {"c\x00d": "\x00"}, "50%24": ["$owner"], "": 1}
    sent = offer("$owner", text="a\x00b $where", keywords=["$owner", "a\x00b", ".*"], extdata=extdata, place=extdata)
    created = await service.post("/offers", json=sent)
    assert created.status_code == 200, created.text
    changed = await service.put(f"/offers/{created.json()['_id']}", json={"extdata": {**extdata, "$set": {"a": 1}}})
    assert changed.json()["extdata"] == {**extdata, "$set": {"a": 1}}
    for parameters in ({"owner": "$owner"}, {"keywords[]": "$owner"}, {"keywords[]": "a\x00"}, {"keywords[]": ".*"}):
        listed = (await service.get("/offers", params=parameters)).json()["data"]
        assert [each["text"] for each in listed] == ["a\x00b $where"], parameters
    around = {"center[latitude]": "52.5", "center[longitude]": "13.4", "radius": "10"}
    for keyword, count in (("\x00b", 1), ("wner", 1), ("[^q]", 0)):
        listed = (await service.get("/offers", params={**around, "keywords[]": keyword})).json()
        assert (listed["keyword_search"], len(listed["data"])) == ("substring", count), keyword


async def test_operators_in_parameters_find_nothing_more(service: httpx.AsyncClient) -> None:
    await service.post("/offers", json=offer())
    assert (await service.get("/offers?_id[$ne]=1&owner[$ne]=x")).json()["data"] != []  # unknown parameters
    assert (await service.get("/offers", params={"owner": '{"$ne": null}'})).json()["data"] == []
    assert (await service.get("/offers", params={"_id": '{"$ne": null}'})).status_code == 422
    assert (await service.get("/chat", params={"_id": '{"$ne": null}'})).json() == {}


async def test_malformed_and_oversize_bodies_are_refused(service: httpx.AsyncClient) -> None:
    assert (await service.post("/offers", content=b"{")).status_code == 400
    assert (await service.post("/offers", content=b"[" * 100_000)).status_code == 400
    assert (await service.post("/offers", content=b" " * 1_048_577)).status_code == 413
    deep = b'{"extdata":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001
    assert (await service.post("/offers", content=deep)).status_code == 400
    assert (await service.post("/bulk/offers", content=b'{"new_offers":[' + deep + b"]}")).status_code == 400
    assert (await service.post("/offers", content=b"[]")).status_code == 400
    assert (await service.post("/offers", content=rb'{"text":"\ud800"}')).status_code == 400
