"""The plans of the queries of each scrape of the metrics and of the dead list, from the profiler of a real mongod."""

from collections.abc import AsyncIterator

import pytest

from deploy.develop.localstack.mongo import MongoKind
from services.backbone.mongo import Database
from services.notificationserver.core.deliveries import Delivery, DeliveryState
from services.notificationserver.store import DeliveryStore
from services.notificationserver.store.database import DELIVERIES
from services.notificationserver.store.deliveries import DeadFilter
from tests.contract.notificationserver.stepping import Stepper

DELIVERED = 2_000
DEAD = 3


@pytest.fixture
async def profiled(database: Database, mongo_kind: MongoKind) -> AsyncIterator[Database]:
    if mongo_kind != "mongod":
        pytest.skip("only a real mongod has a profiler")
    states: list[DeliveryState] = [*["delivered"] * DELIVERED, *["dead"] * DEAD]  # type: ignore[list-item]
    deliveries = [
        Delivery(f"s.o.{number}.offer:callback", "m", "d", "callback", "h:1", 1, 2, state).to_document()
        for number, state in enumerate(states)
    ]
    await database[DELIVERIES].insert_many([each | {"ended_ms": 3} for each in deliveries])
    await database["system.profile"].drop()
    await database.command("profile", 2)
    yield database
    await database.command("profile", 0)


async def test_no_scrape_and_no_page_reads_a_whole_collection(profiled: Database, stepper: Stepper) -> None:
    for work in (stepper.planner, stepper.merger, stepper.deliverer):
        await work.refresh_metrics()
    assert stepper.metrics.dead_list._value.get() == DEAD
    store = DeliveryStore(profiled, keep_days=30)
    for wanted, number in ((DeadFilter(), DEAD), (DeadFilter("callback"), DEAD), (DeadFilter("\0"), 0)):
        found, total = await store.dead_page(wanted, skip=0, limit=50)
        assert (len(found), total) == (number, number)
    assert await store.replay(DeadFilter(ids=("s.o.2000.offer:callback",)), now_ms=4, life_ms=5) == 1
    assert await store.replay(DeadFilter(), now_ms=4, life_ms=5) == DEAD - 1
    entries = await profiled["system.profile"].find({"planSummary": {"$exists": True}}).to_list()
    assert len(entries) > len(("planner", "merger", "deliverer"))
    for entry in entries:
        assert "COLLSCAN" not in entry["planSummary"], entry["command"]
        assert entry["docsExamined"] <= 2 * DEAD, entry["command"]
