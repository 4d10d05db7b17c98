"""Bulk requests on a real MongoDB."""

import asyncio
import json
import time
import tracemalloc
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.contract.storage.api.serving import (
    DEVICE,
    SERVICE,
    SharedStorage,
    Tracker,
    client_of,
    documents,
    offer,
    storage_process,
)


async def test_each_element_has_a_result_and_a_wrong_one_stops_no_other(
    service: httpx.AsyncClient, tracker: Tracker
) -> None:
    kept = (await service.post("/offers", json=offer("Importer"))).json()["_id"]
    removed = (await service.post("/offers", json=offer("Importer"))).json()["_id"]
    await tracker.until(2)
    body = {
        "other": {"new_offers": [1]},
        "new_offers": [offer("Importer"), offer("Importer", radiusMeters=-1), 5],
        "old_offers": [
            {"_id": kept, "text": "Changed"},
            {"_id": removed, "owner": "Thief"},
            {"_id": "0" * 24, "text": "?"},
            {"_id": {"$ne": None}, "text": "?"},
        ],
        "remove_offers": [{"_id": removed, "owner": "ignored"}],
    }
    response = await service.post("/bulk/offers", json=body)
    assert response.json()["status"] == "ok"
    results = [(each["list"], each["index"], each["status"]) for each in response.json()["results"]]
    assert sorted(results) == [
        ("new_offers", 0, "created"),
        ("new_offers", 1, "refused"),
        ("new_offers", 2, "refused"),
        ("old_offers", 0, "changed"),
        ("old_offers", 1, "refused"),
        ("old_offers", 2, "unknown"),
        ("old_offers", 3, "refused"),
        ("remove_offers", 0, "removed"),
    ]
    read = (await service.get("/bulk/offers/Importer")).json()
    assert read["version"] == "1.0"
    assert sorted(each["text"] for each in read["data"]) == ["Changed", "Fresh bread"]
    await tracker.until(3)
    assert tracker.requests[2] == ("Importer.2.bud", "bud", {"owner": "Importer"})
    assert (await service.delete("/bulk/offers/Importer")).json() == {"status": "ok", "deleted": 2}
    assert (await service.get("/bulk/offers/Importer")).json()["data"] == []
    await tracker.until(4)
    assert tracker.ids[3] == "Importer.5.bud"
    assert len(tracker.ids) == 4  # no event for a single object


async def test_new_offer_with_an_id_is_created_once(service: httpx.AsyncClient) -> None:
    body = {"new_offers": [offer("Importer") | {"_id": "a" * 24}, offer("Importer") | {"_id": "no id"}]}
    for status in ("created", "known"):
        results = (await service.post("/bulk/offers", json=body)).json()["results"]
        assert sorted(each["status"] for each in results) == sorted([status, "refused"])
    assert [each["_id"] for each in (await service.get("/bulk/offers/Importer")).json()["data"]] == ["a" * 24]


async def test_request_that_arrives_after_its_time_writes_nothing(service: httpx.AsyncClient) -> None:
    body = {"new_offers": [offer("Importer")]}
    now_ms = round(1000 * time.time())
    late = await service.post(f"/bulk/offers?until={now_ms - 1000}", json=body)
    assert (late.status_code, late.json()["error"]) == (408, "too_late")
    wrong = await service.post("/bulk/offers?until=tomorrow", json=body)
    assert (wrong.status_code, wrong.json()["fields"][0]["field"]) == (422, "until")
    assert (await service.get("/bulk/offers/Importer")).json()["data"] == []
    assert (await service.post(f"/bulk/offers?until={now_ms + 60_000}", json=body)).status_code == 200


async def test_slices_of_an_import_send_one_event(service: httpx.AsyncClient, tracker: Tracker) -> None:
    for event in ("none", "later", "later"):
        body = {"new_offers": [offer("Importer")]}
        assert (await service.post(f"/bulk/offers?event={event}", json=body)).status_code == 200
    assert tracker.ids == []
    await service.post("/bulk/offers?event=now", json={"new_offers": [offer("Importer")]})
    await tracker.until(1)
    await service.post("/bulk/offers?event=none", json={"new_offers": [offer("Importer")]})
    await service.post("/bulk/offers", json={"new_offers": [offer("Other")]})
    await tracker.until(2)
    assert [each.rpartition(".")[0].partition(".")[0] for each in tracker.ids] == ["Importer", "Other"]


@pytest.mark.parametrize("event", ["soon", "None", "1"])
async def test_other_values_of_event_are_refused(service: httpx.AsyncClient, event: str) -> None:
    response = await service.post(f"/bulk/offers?event={event}", json={"new_offers": [offer("Importer")]})
    assert (response.status_code, response.json()["fields"][0]["field"]) == (422, "event")
    assert (await service.get("/bulk/offers/Importer")).json()["data"] == []


async def test_names_of_extdata_are_read_alone(service: httpx.AsyncClient) -> None:
    rows = [{"id": "1", "hash": "x", "long": "y" * 100}, {"id": "2"}, {}]
    for number, extdata in enumerate(rows):
        body = {
            "new_offers": [
                offer("a/b", extdata=extdata, validuntil=number or None, images=["/x"] * number)
                | {"_id": f"{number:024x}"}
            ]
        }
        await service.post("/bulk/offers", json=body)
    await service.post("/bulk/offers", json={"remove_offers": [{"_id": f"{2:024x}"}]})
    found = (await service.get("/bulk/extdata/a%2Fb?names=id,hash")).json()
    assert found == {
        "version": "1.0",
        "data": [
            {"_id": f"{0:024x}", "validuntil": None, "extdata": {"id": "1", "hash": "x"}},
            {"_id": f"{1:024x}", "validuntil": 1, "extdata": {"id": "2"}, "images": ["/x"]},
        ],
    }
    assert (await service.get("/bulk/extdata/nobody?names=id")).json()["data"] == []


@pytest.mark.parametrize("names", ["", "a.b", "$where", "a,b,c,d,e,f,g,h,i", "x" * 65])
async def test_other_names_of_extdata_are_refused(service: httpx.AsyncClient, names: str) -> None:
    response = await service.get("/bulk/extdata/Importer", params={"names": names})
    assert (response.status_code, response.json()["fields"][0]["field"]) == (422, "names")


async def test_malformed_end_of_a_body_is_reported_with_the_results_before_it(service: httpx.AsyncClient) -> None:
    body = json.dumps({"new_offers": [offer("Importer")]})[:-1] + ',"old_offers":5}'
    response = await service.post("/bulk/offers", content=body)
    assert (response.status_code, response.json()["error"]) == (400, "malformed")
    assert [each["status"] for each in response.json()["results"]] == ["created"]


async def test_refused_elements_have_their_fields_up_to_1000(service: httpx.AsyncClient) -> None:
    response = await service.post("/bulk/offers", json={"new_offers": [offer(isActive="?")] * 1_001})
    results = response.json()["results"]
    assert {each["status"] for each in results} == {"refused"}
    assert ["fields" in each for each in results] == [True] * 1_000 + [False]


async def test_expired_and_inactive_offers_of_an_owner_are_read(service: httpx.AsyncClient) -> None:
    await service.post("/offers", json=offer("a/b", validuntil=1, isActive=False))
    assert len((await service.get("/bulk/offers/a%2Fb")).json()["data"]) == 1
    box = {"sw[latitude]": 0, "sw[longitude]": 0, "ne[latitude]": 1, "ne[longitude]": 1}
    assert (await service.get("/bulk/offers/a%2Fb", params=box)).json()["data"] == []


async def test_notify_responds_ok_also_for_an_unknown_id(service: httpx.AsyncClient) -> None:
    name = (await service.post("/offers", json=offer("Importer"))).json()["_id"]
    assert (await service.post(f"/offers/{name}/notify")).json() == {"status": "ok"}
    assert (await service.post(f"/offers/{'0' * 24}/notify")).json() == {"status": "ok"}
    assert (await service.post("/bulk/notify_searchers/Importer")).json()["status"] == "ok"


async def test_notify_searchers_marks_matched_offers_with_and_without_an_end(
    service: httpx.AsyncClient, shared_storage: SharedStorage
) -> None:
    for end_ms in (None, 4_102_444_800_000, 1):
        name = (await service.post("/offers", json=offer("Importer", validuntil=end_ms))).json()["_id"]
        await service.post(f"/offers/{name}/notify")
    environ = shared_storage.environ
    async with asyncio.timeout(20):
        while True:
            stored = documents(environ["STORAGE_MONGO_URL"], environ["STORAGE_DATABASE"], "offers")
            if all(each.get("due_at", 4_102_444_800_000) == 4_102_444_800_000 for each in stored):
                break
            await asyncio.sleep(0.05)
    assert (await service.post("/bulk/notify_searchers/Importer")).json() == {"status": "ok", "marked": 2}


async def test_bulk_body_without_a_list_is_refused(service: httpx.AsyncClient) -> None:
    response = await service.post("/bulk/offers", json={"offers": [offer("Importer")]})
    assert response.status_code == 400
    assert response.json()["detail"] == "offers is none of the lists new_offers, old_offers, remove_offers"


async def test_chat_returns_objects_by_id_in_the_old_forms(service: httpx.AsyncClient) -> None:
    offered = (await service.post("/offers", json=offer(keywords=["x", "bread"]))).json()["_id"]
    searched = (await service.post("/searches", json=offer(keywords=["Bread"]))).json()["_id"]
    assert [each["_id"] for each in (await service.get(f"/chat?_id={searched}")).json()] == [searched]
    assert (await service.get("/chat?_id=undefined")).json() == {}
    for query in (f"_id={searched}_{offered}_undefined", f"_id={offered}&_id={searched}"):
        both = (await service.get(f"/chat/byids?{query}")).json()
        assert [(each["_id"], each["isKeyword"]) for each in both["offers"]] == [(offered, [1])]
        assert [(each["_id"], each["rank"]) for each in both["searches"]] == [(searched, 1)]


@pytest.mark.slow
@pytest.mark.timeout(500)  # tracing memory takes most of the time
@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.endurance)])
async def test_large_owner_is_written_and_read_in_flat_memory(own_environ: dict[str, str], count: int) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"old_offers":[],"new_offers":['
        one = json.dumps(offer(DEVICE)).encode()
        for number in range(0, count, 500):
            yield (b"," if number else b"") + b",".join([one] * 500)
        yield b"]}"

    async with storage_process(own_environ), client_of(own_environ, SERVICE) as service:
        await service.get("/offers")
        tracemalloc.start()
        try:
            async with service.stream("POST", "/bulk/offers", content=body(), timeout=300.0) as response:
                results = await _count(response, b'"created"')
            _, write_peak = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            async with service.stream("GET", f"/bulk/offers/{DEVICE}", timeout=300.0) as response:
                read = await _count(response, b'"owner":')
            _, read_peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (results, read) == (count, count)
    print("peak bytes: writing", write_peak, "reading", read_peak)  # noqa: T201 - the figures of the README
    # The results take 100 bytes for each object, a few times while they are sent; each object takes 400 as JSON.
    assert write_peak < 5_000_000 + 400 * count, write_peak
    assert read_peak < 5_000_000, read_peak


async def _count(response: httpx.Response, text: bytes) -> int:
    """Count a text in a response. It may begin in one piece and end in the next one."""
    number, rest = 0, b""
    async for piece in response.aiter_bytes():
        rest += piece
        number += rest.count(text)
        rest = rest[rest.rfind(text) + len(text) :] if text in rest else rest
        rest = rest[-len(text) + 1 :]
    return number
