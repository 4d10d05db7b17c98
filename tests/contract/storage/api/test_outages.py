"""Tracker, Kafka and match_notifier are away together, so that nothing requests a matching: the due mark does it."""

import asyncio
import time

import httpx
import pytest

from deploy.develop.localstack.mongo import MongoServer
from services.storage.store import Database
from tests.contract.storage.api.serving import SERVICE, Tracker, client_of, environ_of, offer, storage_process
from tests.contract.storage.storing import StubNotificationServer

LIMIT_S = 10.0
GRACE_S = 5.0
PAIRS = 20


async def post_pairs(client: httpx.AsyncClient) -> set[str]:
    """Create pairs. Return the ids of their first encounters."""
    encounters: set[str] = set()
    for number in range(PAIRS):
        names = []
        for collection in ("searches", "offers"):
            document = offer(f"owner of {collection}", keywords=[f"pair {number}"])
            names.append((await client.post(f"/{collection}", json=document)).json()["_id"])
        encounters.add(".".join([*names, "1"]))
    return encounters


async def until_reported(notifications: StubNotificationServer, encounters: set[str], limit_s: float) -> None:
    async with asyncio.timeout(limit_s):
        while not encounters <= notifications.received.keys():  # noqa: ASYNC110 - a thread receives them
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_encounters_are_reported_while_the_tracker_is_away_and_soon_after_the_notificationserver_returns(
    mongo_server: MongoServer, database: Database, notifications: StubNotificationServer
) -> None:
    tracker = Tracker()  # it does not listen yet
    environ = environ_of(mongo_server.url, database.name, tracker.port) | {
        "STORAGE_NOTIFY_URL": notifications.url,
        "MATCH_GRACE_S": str(GRACE_S),
    }
    async with storage_process(environ), client_of(environ, SERVICE) as client:
        begun = time.monotonic()
        encounters = await post_pairs(client)
        posted = time.monotonic()
        await until_reported(notifications, encounters, GRACE_S + LIMIT_S)
        assert time.monotonic() - begun > GRACE_S, "something else than the due mark has caused the matching"
        after_grace_s = time.monotonic() - posted - GRACE_S

        notifications.status = 503
        more = await post_pairs(client)
        await asyncio.sleep(GRACE_S + 5.0)  # many attempts fail
        assert not more & notifications.received.keys()
        notifications.status = 200
        returned = time.monotonic()
        await until_reported(notifications, more, LIMIT_S)
        after_return_s = time.monotonic() - returned

        async with tracker.listening():
            returned = time.monotonic()
            await tracker.until(4 * PAIRS, limit_s=60.0)  # no encounter waits for the events
        print(  # noqa: T201 - results
            f"{after_grace_s:.1f} s after the grace, {after_return_s:.1f} s after the return of the "
            f"notificationserver; events {time.monotonic() - returned:.1f} s after the return of the tracker"
        )
