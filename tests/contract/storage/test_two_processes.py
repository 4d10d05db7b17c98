"""Two processes of storage that get the two sides of a pair at the same moment."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from deploy.develop.localstack.mongo import MongoServer
from tests.contract.storage.storage_processes import body, client_of, running, storage_process
from tests.contract.storage.storing import StubNotificationServer

_CONCURRENT = 10


async def post(client: httpx.AsyncClient, collection: str, owner: str, keyword: str) -> str:
    """Post an object, and match it at once as match_notifier does. Return its id."""
    created = await client.post(f"/{collection}", json=body(owner, keyword))
    name: str = created.json()["_id"]
    assert (await client.post(f"/{collection}/{name}/notify")).is_success
    return name


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("pairs", [250, pytest.param(1000, marks=pytest.mark.endurance)])
async def test_pairs_posted_to_two_processes_at_the_same_moment_are_reported_once(
    mongo_server: MongoServer, database_name: str, notifications: StubNotificationServer, tmp_path: Path, pairs: int
) -> None:
    processes = [
        storage_process(
            tmp_path,
            mongo_url=mongo_server.url,
            database=database_name,
            notify_url=notifications.url,
            MATCH_GRACE_S="0.05",
            MATCH_POLL_S="0.05",
            MATCH_LEASE_S="60",
        )
        for _ in range(2)
    ]
    expected: list[str] = []
    with running(*processes):
        async with client_of(processes[0]) as first, client_of(processes[1]) as second:

            async def post_pairs(begin: int) -> None:
                for number in range(begin, pairs, _CONCURRENT):
                    offer, search = await asyncio.gather(
                        post(first, "offers", "seller", f"pair{number}"),
                        post(second, "searches", "buyer", f"pair{number}"),
                    )
                    expected.append(f"{search}.{offer}.1")

            await asyncio.gather(*map(post_pairs, range(_CONCURRENT)))
            async with asyncio.timeout(60):
                while len(notifications.received) < pairs:  # noqa: ASYNC110 - of another thread
                    await asyncio.sleep(0.05)
            await asyncio.sleep(1.0)  # for a duplicate
    assert notifications.received == Counter(expected)
    assert len(expected) == pairs
