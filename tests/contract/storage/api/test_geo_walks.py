"""Walks by `POST /store/geo` on a real MongoDB. The rules alone have 1,000 seeds in ../test_walks.py."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from deploy.develop.localstack.mongo import MongoServer
from services.storage.core.movement import Fix
from services.storage.core.sphere import GeoPoint
from tests.contract.storage.api.serving import DEVICE, SharedStorage, offer
from tests.contract.storage.walking import BEGIN_MS, EDGE, OUT_AND_BACK, PAST, RADIUS_M, at, noisy

FAR = (13.0, 52.0)


async def post_fix(service: httpx.AsyncClient, fix: Fix) -> str:
    """Send a fix. Return its effect on the search of the device."""
    lng, lat = fix.location
    query = {"di": DEVICE, "lg": repr(lng), "lt": repr(lat), "a": str(fix.accuracy_m), "ts": str(fix.at_ms)}
    response = await service.post("/store/geo", params=query)
    effects: list[str] = [result["effect"] for result in response.json()["results"]]
    assert len(effects) == 1
    return effects[0]


async def post_objects(service: httpx.AsyncClient, at_point: tuple[float, float]) -> tuple[str, str]:
    """Post a mobile search and an offer in Berlin. Return their ids."""
    search = offer(at=at_point, isMobile=True, radiusMeters=RADIUS_M)
    fixed = offer("a shop", radiusMeters=RADIUS_M)
    created = [
        (await service.post(path, json=body)).json()["_id"]
        for path, body in (("/searches", search), ("/offers", fixed))
    ]
    return created[0], created[1]


@pytest.mark.parametrize(
    ("places", "encounters", "seed"),
    [
        (PAST[::6], 1, 0),
        *(pytest.param(PAST, 1, seed, marks=pytest.mark.slow) for seed in range(1, 6)),
        *(pytest.param(OUT_AND_BACK, 2, seed, marks=pytest.mark.slow) for seed in range(5)),
        pytest.param(EDGE, 1, 0, marks=pytest.mark.slow),
    ],
)
async def test_walk_is_reported_once_for_each_encounter(
    shared_storage: SharedStorage,
    service: httpx.AsyncClient,
    places: Sequence[tuple[float, float]],
    encounters: int,
    seed: int,
) -> None:
    search_id, offer_id = await post_objects(service, FAR)
    for fix in noisy(random.Random(seed), *places):
        if await post_fix(service, fix) == "moved":
            # What match_notifier does for the event of the fix.
            assert (await service.post(f"/searches/{search_id}/notify")).is_success
    expected = {f"{search_id}.{offer_id}.{number}": 1 for number in range(1, encounters + 1)}
    async with asyncio.timeout(10):
        while len(shared_storage.notifications.received) < encounters:  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.02)
    assert shared_storage.notifications.received == expected


async def test_fixes_in_random_order_end_at_the_newest(service: httpx.AsyncClient) -> None:
    search_id, _ = await post_objects(service, FAR)
    fixes = noisy(random.Random(1), *PAST)[::12]
    await asyncio.gather(*(post_fix(service, fix) for fix in random.Random(2).sample(fixes, len(fixes))))
    stored = (await service.get(f"/searches/{search_id}")).json()["data"][0]
    assert stored["location"]["coordinates"] == list(fixes[-1].location)


async def test_device_at_rest_costs_one_read_of_each_collection(
    shared_storage: SharedStorage, service: httpx.AsyncClient, mongo_server: MongoServer
) -> None:
    search_id, _ = await post_objects(service, FAR)
    assert await post_fix(service, Fix(BEGIN_MS, at(0.0), 10.0)) == "moved"
    assert (await service.post(f"/searches/{search_id}/notify")).is_success
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_server.url)
    with client:
        database = client[shared_storage.environ["STORAGE_DATABASE"]]
        async with asyncio.timeout(10):  # a matcher of the loops may have been faster than the call
            while database["searches"].find_one({"due_at": {"$exists": True}}):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
        database.command("profile", 2)
        try:
            for second in range(1, 11):
                near: GeoPoint = at(0.9 * second)
                assert await post_fix(service, Fix(BEGIN_MS + 1000 * second, near, 10.0)) == "unmoved"
        finally:
            database.command("profile", 0)
            profiled = list(database["system.profile"].find())
            database["system.profile"].drop()
    operations = [
        each
        for each in profiled
        if each["ns"].endswith((".offers", ".searches")) and (each["op"] == "update" or DEVICE in str(each["command"]))
    ]
    assert sorted(each["ns"].partition(".")[2] for each in operations) == 10 * ["offers"] + 10 * ["searches"]
    assert {each["op"] for each in operations} == {"query"}
