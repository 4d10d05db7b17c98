"""A hidden location is in no response, event or notification but those of its owner, on a real MongoDB."""

import asyncio
import json
import random
from collections.abc import Sequence
from typing import Any, Final

import httpx
import pytest

from services.storage.core.public_points import PUBLIC_RADIUS_M
from services.storage.core.sphere import GeoPoint, distance_m
from tests.contract.storage.api.serving import APP, DEVICE, SharedStorage, client_of, documents, offer

HIDDEN: Final = (13.412345678, 52.523456789)
METRE: Final = ("13.412345", "52.523456")
"""The coordinates cut to a metre or less."""
OTHER_DEVICE: Final = "fedcba9876543210"
AROUND: Final = {"center[latitude]": "52.52", "center[longitude]": "13.41", "radius": "5000"}
BOX: Final = {"sw[latitude]": "52", "sw[longitude]": "13", "ne[latitude]": "53", "ne[longitude]": "14"}
QUERIES: Final[Sequence[dict[str, str]]] = (
    {},
    {"owner": DEVICE},
    {"keywords[]": "bread"},
    {"not_owner": "nobody"},
    {"limit": "1"},
    AROUND,
    {**AROUND, "keywords[]": "rea"},
    BOX,
)


def reveals(text: str) -> bool:
    """Return whether a text has the place, an exact coordinate, or both coordinates to a metre.

    One coordinate to a metre is no leak: each drawn point has it by chance once in 3,000 draws.
    """
    return "Secret" in text or any(str(exact) in text for exact in HIDDEN) or all(part in text for part in METRE)


def hidden(**changed: Any) -> dict[str, Any]:
    place = {"en": {"route": "Secret street"}}
    return offer(at=HIDDEN, showLocation=False, place=place, isMobile=True, allowContacts=True) | changed


@pytest.fixture
async def ids(service: httpx.AsyncClient) -> dict[str, str]:
    """Return the ids of a hidden offer of a device, and of a search of another owner that matches it."""
    created = await service.post("/offers", json=hidden())
    search = await service.post("/searches", json=hidden(owner="searcher"))
    return {"offer": created.json()["_id"], "search": search.json()["_id"]}


def requests_of(description: dict[str, Any], ids: dict[str, str]) -> list[tuple[str, str]]:
    """Return the methods and paths of the OpenAPI description, with the ids of the hidden objects."""
    values = {"owner": DEVICE, "device": OTHER_DEVICE, "value": "true"}
    values |= {"offer_id": ids["offer"], "search_id": ids["search"]}
    found = []
    for path, operations in description["paths"].items():
        object_id = ids["search" if path.startswith("/searches") else "offer"]
        found += [(method.upper(), path.format_map({**values, "object_id": object_id})) for method in operations]
    return found


async def test_no_response_has_a_hidden_location_but_those_of_its_owner(
    running: dict[str, str], phone: httpx.AsyncClient, service: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    every = requests_of((await phone.get("/openapi.json")).json(), ids)
    assert len(every) > 20
    queries = (*QUERIES, {"_id": ids["offer"]}, {"_id": f"{ids['offer']}_{ids['search']}"}, {"return": "before"})
    geo = {"di": DEVICE, "lt": "52.6", "lg": "13.5"}
    channel = {"searchid": ids["search"], "offerid": ids["offer"], "url": "channel_1"}
    other = (await phone.post(f"/devices/{OTHER_DEVICE}/token")).json()["token"]
    seen = 0
    async with client_of(running, APP, other) as stranger:
        for caller in (phone, stranger):
            for method, path in every:
                for query in queries if method == "GET" else ({}, {"return": "before"}):
                    body = None if method in ("GET", "DELETE") else geo if "geo" in path else channel
                    response = await caller.request(method, path, params=query, json=body)
                    assert response.status_code < 500
                    seen += ids["offer"] in response.text or ids["search"] in response.text
                    assert not reveals(response.text), (method, path, query)
    for method, path in every:
        if method == "GET" and not path.startswith("/bulk"):
            for query in queries:
                if "owner" not in query:
                    text = (await service.get(path, params=query)).text
                    assert not reveals(text), (path, query)
    assert seen > 50


async def test_owner_and_a_service_that_names_the_owner_get_the_hidden_location(
    running: dict[str, str], phone: httpx.AsyncClient, service: httpx.AsyncClient, ids: dict[str, str]
) -> None:
    path = f"/offers/{ids['offer']}"
    for each in (f"/offers?owner={DEVICE}", f"{path}?owner={DEVICE}", f"/bulk/offers/{DEVICE}"):
        text = (await service.get(each)).text
        assert all(secret in text for secret in (*map(str, HIDDEN), "Secret")), each
    token = (await phone.post(f"/devices/{DEVICE}/token")).json()["token"]
    async with client_of(running, APP, token) as owner:
        for each in (path, "/offers", f"/bulk/offers/{DEVICE}", f"/chat?_id={ids['offer']}"):
            assert str(HIDDEN[0]) in (await owner.get(each)).text, each
        assert str(HIDDEN[0]) not in (await owner.get(f"/searches/{ids['search']}")).text


async def test_events_notifications_and_pairs_have_no_hidden_location(
    service: httpx.AsyncClient, ids: dict[str, str], shared_storage: SharedStorage
) -> None:
    await service.post(f"/offers/{ids['offer']}/notify")
    await service.put(f"/offers/{ids['offer']}", json={"text": "New"})
    await service.post(f"/searches/{ids['search']}/set_active/false")
    async with asyncio.timeout(20):
        while not shared_storage.notifications.bodies:  # noqa: ASYNC110 - the stub has no event for it
            await asyncio.sleep(0.02)
    await service.delete(f"/offers/{ids['offer']}")
    tracker = shared_storage.tracker
    await tracker.until(5)
    environ = shared_storage.environ
    pairs = documents(environ["STORAGE_MONGO_URL"], environ["STORAGE_DATABASE"], "pairs")
    for sent in (tracker.requests, shared_storage.notifications.bodies, pairs):
        assert sent
        text = json.dumps(sent, default=str)
        assert not reveals(text), text


async def test_300_regions_find_the_public_point_and_no_other(
    phone: httpx.AsyncClient, service: httpx.AsyncClient
) -> None:
    await service.post("/offers", json=hidden())
    public = GeoPoint(*(await phone.get("/offers")).json()["data"][0]["location"]["coordinates"])
    assert 0.0 < distance_m(GeoPoint(*HIDDEN), public) <= PUBLIC_RADIUS_M
    draw = random.Random(14)

    async def differs(number: int) -> bool:
        """Return whether the region tells both points apart, after the check that it finds the public one."""
        centre = GeoPoint(HIDDEN[0] + draw.uniform(-0.02, 0.02), HIDDEN[1] + draw.uniform(-0.02, 0.02))
        if number % 3:
            radius = draw.uniform(0, 2_000)
            query = {"center[latitude]": centre.lat, "center[longitude]": centre.lng, "radius": radius}
            inside = [distance_m(centre, point) <= radius for point in (public, GeoPoint(*HIDDEN))]
        else:
            half = draw.uniform(0, 0.02)
            west, south, east, north = centre.lng - half, centre.lat - half, centre.lng + half, centre.lat + half
            query = {"sw[latitude]": south, "sw[longitude]": west, "ne[latitude]": north, "ne[longitude]": east}
            inside = [west <= lng <= east and south <= lat <= north for lng, lat in (public, HIDDEN)]
        asked = {} if number % 2 else {"keywords[]": "rea"}
        found = (await phone.get("/offers", params={**query, **asked})).json()["data"]
        assert len(found) == inside[0], query
        return inside[0] != inside[1]

    assert any([await differs(number) for number in range(300)])


async def test_edits_moves_and_new_objects_do_not_average_to_the_hidden_location(
    phone: httpx.AsyncClient, service: httpx.AsyncClient
) -> None:
    home = {"type": "Point", "coordinates": list(HIDDEN)}
    work = {"type": "Point", "coordinates": [13.5, 52.6]}
    seen: set[tuple[float, float]] = set()

    async def look() -> None:
        listed = (await phone.get("/offers", params={"owner": DEVICE})).json()["data"]
        seen.update(tuple(each["location"]["coordinates"]) for each in listed)

    names = [(await service.post("/offers", json=hidden())).json()["_id"] for _ in range(5)]
    await service.post("/bulk/offers", json={"new_offers": [hidden()] * 5})
    await look()
    for day in range(5):
        await service.put(f"/offers/{names[0]}", json={"location": work})
        await service.put(f"/offers/{names[0]}", json={"location": home, "text": str(day), "showLocation": False})
        for lt, lg in (("52.6", "13.5"), ("52.523456789", "13.412345678")):
            moved = await service.post("/store/geo", params={"di": DEVICE, "lt": lt, "lg": lg})
            assert {each["effect"] for each in moved.json()["results"]} <= {"moved", "unmoved", "stale"}
        await service.delete(f"/offers/{names[-1]}")
        names[-1] = (await service.post("/offers", json=hidden())).json()["_id"]
        await look()
    assert len(seen) == 2, seen  # one for the locations of a service, one for location fixes


async def test_objects_of_a_stranger_do_not_show_the_cell_of_an_owner(
    phone: httpx.AsyncClient, service: httpx.AsyncClient
) -> None:
    mine = (await service.post("/offers", json=hidden())).json()["_id"]
    for _ in range(3):
        assert (await phone.post("/offers", json=hidden(text="a stranger's"))).is_success
    listed = (await phone.get("/offers", params={"owner": DEVICE})).json()["data"]
    points = {each["_id"]: tuple(each["location"]["coordinates"]) for each in listed}
    assert len(points) == len(set(points.values())) == 4
    again = await service.post("/offers", json=hidden())
    listed = (await phone.get("/offers", params={"_id": again.json()["_id"]})).json()["data"]
    assert tuple(listed[0]["location"]["coordinates"]) == points[mine]
