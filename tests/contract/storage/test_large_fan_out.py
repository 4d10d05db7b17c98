"""An offer that matches 100,000 searches: the request, other changes, memory, and a kill."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.services import ServiceProcess
from services.storage.core.documents import to_document
from services.storage.core.radii import radius_class
from services.storage.core.sphere import destination
from services.storage.store import Database
from tests.contract.storage.storage_processes import body, client_of, metric, running, storage_process
from tests.contract.storage.storing import BERLIN, StubNotificationServer, new_object

SEARCHES = 100_000
REQUEST_LIMIT_S = 0.2
OTHER_LIMIT_S = 5.0
MEMORY_LIMIT_MB = 50.0
CHANGES = 10


def crowd() -> Iterator[dict[str, Any]]:
    """Yield searches within 60 m of each other, in all radius classes."""
    generator = random.Random(14)
    template = to_document(new_object("search", "", keywords=("crowd",)))
    del template["due_at"]
    for number in range(SEARCHES):
        radius_m = math.exp(generator.uniform(math.log(100.0), math.log(20_000.0)))
        place = destination(BERLIN, bearing_rad=generator.uniform(0, 7), distance_m=generator.uniform(0, 60))
        point = {"type": "Point", "coordinates": list(place)}
        yield template | {
            "_id": f"s{number}",
            "owner": f"owner{number}",
            "location": point,
            "public_location": point,
            "radiusMeters": radius_m,
            "class": radius_class(radius_m),
        }


async def until(condition: Callable[[], Coroutine[Any, Any, bool]], limit_s: float = 400.0) -> None:
    async with asyncio.timeout(limit_s):
        while not await condition():  # noqa: ASYNC110 - the condition is in another process
            await asyncio.sleep(0.05)


class Memory:
    """Samples the memory of a process."""

    def __init__(self, process: ServiceProcess) -> None:
        self._process = psutil.Process(process.pid)
        self.begin_mb = self.most_mb = self._now_mb()

    def _now_mb(self) -> float:
        return self._process.memory_info().rss / 1e6

    async def sample(self) -> None:
        while True:
            self.most_mb = max(self.most_mb, self._now_mb())
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.timeout(900)
async def test_large_fan_out_delays_no_other_change_and_continues_after_a_kill(
    mongo_server: MongoServer,
    database: Database,
    notifications: StubNotificationServer,
    tmp_path: Path,
) -> None:
    documents = crowd()
    while chunk := list(islice(documents, 10_000)):
        await database["searches"].insert_many(chunk, ordered=False)
    process = storage_process(
        tmp_path,
        mongo_url=mongo_server.url,
        database=database.name,
        notify_url=notifications.url,
        MATCH_GRACE_S="1",
        MATCH_LEASE_S="5",
    )

    async def pairs_reach(number: int) -> bool:
        return await database["pairs"].count_documents({"offer": offer_id}, limit=number) >= number

    async def is_reported(name: str) -> bool:
        return name in notifications.received

    async def post_pair(keyword: str) -> str:
        """Post a pair. Return the id of its encounter."""
        offer = await client.post("/offers", json=body("seller", keyword))
        search = await client.post("/searches", json=body("buyer", keyword))
        return f"{search.json()['_id']}.{offer.json()['_id']}.1"

    async with client_of(process) as client:
        with running(process):
            warm = await post_pair("warm")
            await until(lambda: is_reported(warm))
            memory = Memory(process)
            sampling = asyncio.create_task(memory.sample())
            begun_s = time.monotonic()
            created = await client.post("/offers", json=body("seller", "crowd", radiusMeters=10_000))
            request_s = time.monotonic() - begun_s
            offer_id = created.json()["_id"]
            await until(lambda: pairs_reach(1000))
            others_s: list[float] = []
            for number in range(CHANGES):
                begun_s = time.monotonic()
                other = await post_pair(f"other{number}")
                await until(lambda other=other: is_reported(other))  # type: ignore[misc]
                others_s.append(time.monotonic() - begun_s)
                if await pairs_reach(60_000):
                    break
            await until(lambda: pairs_reach(60_000))
            sampling.cancel()
        killed = await database["offers"].find_one({"_id": offer_id})
        assert killed is not None
        written = await database["pairs"].count_documents({"offer": offer_id})
        with running(process):

            async def is_finished() -> bool:
                return await database["offers"].find_one({"_id": offer_id, "due_at": {"$exists": True}}) is None

            await until(is_finished)
            candidates = metric(process, 'push_storage_candidates_total{kind="offer"}')
    grown_mb = memory.most_mb - memory.begin_mb
    found = (
        f"response {1000 * request_s:.0f} ms, {len(others_s)} other pairs reported in at most {max(others_s):.1f} s, "
        f"memory +{grown_mb:.0f} MB, {written} pairs before the kill, {candidates:.0f} candidates after it"
    )
    logging.getLogger(__name__).info(found)
    assert written < SEARCHES, "the kill was during the fan-out"
    assert candidates < SEARCHES, "the discs that were finished are not read again"
    once = {"offer": offer_id, "in": True, "encounter": 1, "revision": 1}
    assert await database["pairs"].count_documents(once) == SEARCHES
    assert max(others_s) <= OTHER_LIMIT_S, found
    assert grown_mb <= MEMORY_LIMIT_MB, found
    assert request_s <= REQUEST_LIMIT_S, found
