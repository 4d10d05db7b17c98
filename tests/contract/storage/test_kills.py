"""Kills of storage, of MongoDB and of the servers that storage calls, under load: nothing is lost or done twice."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from deploy.develop.localstack.mongo import MongoKind, MongoServer
from deploy.develop.localstack.ports import free_port
from services.storage.store import Database, connect
from tests.contract.storage.kills.doomed import POINTS, Point, start_end, start_storage
from tests.contract.storage.kills.load import Load, assert_nothing_is_lost, insert_crowd, wait_until_drained

PASSWORD = "a secret of the test"
KILLS = [pytest.param(3, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.endurance)]


class Site:
    """A storage under load, and the server that takes its notifications and events. All of them can be killed."""

    def __init__(self, mongo_url: str, database: Database, folder: Path) -> None:
        self._folder = folder
        self._end_port = free_port()
        port = free_port()
        end = f"http://127.0.0.1:{self._end_port}"
        self._environ = {
            "STORAGE_MONGO_URL": mongo_url,
            "STORAGE_DATABASE": database.name,
            "STORAGE_PORT": str(port),
            "INTERNAL_PORT": str(free_port()),
            "STORAGE_PASSWORD": PASSWORD,
            "STORAGE_TRACKER_URL": end,
            "STORAGE_NOTIFY_URL": end,
            "STORAGE_EVENT_POLL_S": "0.1",
            "STORAGE_EVENT_LEASE_S": "10",
            "MATCH_GRACE_S": "0.05",
            "MATCH_LEASE_S": "2",
            "MATCH_POLL_S": "0.05",
        }
        self.received = folder / "received"
        self._log = folder / "storage.log"
        self.load = Load(port, ("storage", PASSWORD), self._log)
        self._processes: list[BaseProcess] = []

    def start_storage(self, point: Point = "never", passes: int = 1) -> BaseProcess:
        process = start_storage(self._environ, self._log, point, passes)
        self._processes.append(process)
        return process

    def start_end(self) -> BaseProcess:
        process = start_end(self._end_port, self.received, self._folder / "end.log")
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


@pytest.fixture
def site(mongo_server: MongoServer, database: Database, tmp_path: Path) -> Iterator[Site]:
    site = Site(mongo_server.url, database, tmp_path)
    yield site
    site.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kills", KILLS)
async def test_killed_storage_loses_nothing(site: Site, database: Database, point: Point, kills: int) -> None:
    begun = time.monotonic()
    await insert_crowd(database)
    site.start_end()
    dice = random.Random(point)
    async with site.load.running():
        for _ in range(kills):
            storage = site.start_storage(point, dice.randint(1, 5))
            await asyncio.to_thread(storage.join, 60)
            assert storage.exitcode == -signal.SIGKILL
    site.start_storage()
    await wait_until_drained(database)
    print(f"{point}, {kills} kills, {time.monotonic() - begun:.0f} s:", end=" ")  # noqa: T201 - results
    print(await assert_nothing_is_lost(database, site.load, site.received.read_text()))  # noqa: T201


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", KILLS)
async def test_killed_notificationserver_and_tracker_lose_nothing(site: Site, database: Database, kills: int) -> None:
    begun = time.monotonic()
    await insert_crowd(database)
    end = site.start_end()
    site.start_storage()
    dice = random.Random(14)
    async with site.load.running():
        await site.load.until_created(3)
        for _ in range(kills):
            await asyncio.sleep(dice.uniform(0.1, 0.5))
            end.kill()
            end.join()
            await asyncio.sleep(dice.choice([0.0, 0.3]))
            end = site.start_end()
    await wait_until_drained(database)
    print(f"{kills} kills, {time.monotonic() - begun:.0f} s:", end=" ")  # noqa: T201 - results
    print(await assert_nothing_is_lost(database, site.load, site.received.read_text()))  # noqa: T201


@pytest.fixture
def own_mongo(mongo_kind: MongoKind, tmp_path: Path) -> Iterator[MongoServer]:
    """Return a MongoDB that the test may kill."""
    server = MongoServer(mongo_kind, data=tmp_path / "mongo", log=tmp_path / "mongo.log")
    server.start()
    server.wait_ready()
    yield server
    server.process.kill()


@pytest.fixture
async def own_database(own_mongo: MongoServer) -> AsyncIterator[Database]:
    async with connect(own_mongo.url) as client:
        yield client["kills"]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", KILLS)
async def test_killed_mongodb_loses_nothing(
    own_mongo: MongoServer, own_database: Database, tmp_path: Path, kills: int
) -> None:
    begun = time.monotonic()
    await insert_crowd(own_database)
    site = Site(own_mongo.url, own_database, tmp_path)
    site.start_end()
    site.start_storage()
    dice = random.Random(14)
    try:
        async with site.load.running():
            for _ in range(kills):
                await site.load.until_created(dice.randint(1, 20))
                own_mongo.process.kill()
                own_mongo.start()
                await asyncio.to_thread(own_mongo.wait_ready)
        await wait_until_drained(own_database)
        print(f"{kills} kills, {time.monotonic() - begun:.0f} s:", end=" ")  # noqa: T201 - results
        print(await assert_nothing_is_lost(own_database, site.load, site.received.read_text()))  # noqa: T201
    finally:
        site.close()
