"""SIGTERM under load ends the process of storage soon, whatever it does at that moment."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.services import ServiceProcess
from tests.contract.storage.storing import StubNotificationServer

STOPS = 10
LIMIT_S = 5.0


@pytest.fixture
def storage_process(
    mongo_server: MongoServer, notifications: StubNotificationServer, database_name: str, tmp_path: Path
) -> Iterator[ServiceProcess]:
    environ = {
        "STORAGE_PORT": str(free_port()),
        "STORAGE_MONGO_URL": mongo_server.url,
        "STORAGE_DATABASE": database_name,
        "STORAGE_TRACKER_URL": f"http://{LOOPBACK}:9",  # nothing listens there, so events are always owed
        "STORAGE_NOTIFY_URL": notifications.url,
        "MATCH_GRACE_S": "0.05",
    }
    process = ServiceProcess("storage", label="storage", logs=tmp_path, env=environ)
    yield process
    process.kill()


async def post_until_refused(url: str, number: int) -> None:
    """Post offers and searches that all match, until the port is closed."""
    point = {"type": "Point", "coordinates": [13.4, 52.5]}
    async with httpx.AsyncClient(base_url=url) as client:
        with contextlib.suppress(httpx.HTTPError):
            while True:
                for collection in ("/offers", "/searches"):
                    owner = f"{collection}-{number}"
                    await client.post(collection, json={"owner": owner, "keywords": ["bread"], "location": point})


@pytest.mark.slow
@pytest.mark.usefixtures("database")
async def test_storage_stops_soon_under_load(storage_process: ServiceProcess) -> None:
    url = f"http://{LOOPBACK}:{storage_process.env['STORAGE_PORT']}"
    seconds: list[float] = []
    for number in range(STOPS):
        storage_process.start()
        await asyncio.to_thread(storage_process.wait_until_ready)
        posting = asyncio.create_task(post_until_refused(url, number))
        await asyncio.sleep(0.2 + 0.05 * number)
        begun_s = time.monotonic()
        storage_process.process.terminate()
        await asyncio.to_thread(storage_process.process.wait, timeout_s=20)
        seconds.append(time.monotonic() - begun_s)
        await posting
    assert max(seconds) < LIMIT_S, seconds
