"""The time of the database commands of a request, on a real MongoDB."""

import asyncio

from services.storage.store import Database, ObjectStore
from services.storage.store.database_time import measure_database_time
from tests.contract.storage.storing import new_object


async def test_commands_count_for_the_task_that_runs_them(database: Database) -> None:
    objects = ObjectStore(database)

    async def request(reads: int) -> float:
        measured = measure_database_time()
        for _ in range(reads):
            await objects.get("offer", "0" * 24)
        return measured.seconds

    await objects.insert(new_object("offer", "0" * 24))
    none, some = await asyncio.gather(request(0), request(20))
    assert none == 0.0
    assert 0.0 < some < 60.0
