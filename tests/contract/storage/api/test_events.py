"""Owed events across outages of the tracker and kills of storage, on a real MongoDB."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.contract.storage.api.serving import (
    SERVICE,
    Tracker,
    client_of,
    documents,
    offer,
    storage_process,
    wait_until_ready,
)

ROOT = Path(__file__).parents[4]


async def test_changes_during_an_outage_of_the_tracker_are_sent_after_it(
    service: httpx.AsyncClient, tracker: Tracker, running: dict[str, str]
) -> None:
    tracker.status = 503
    name = (await service.post("/offers", json=offer())).json()["_id"]
    await service.post(f"/offers/{name}/set_active/false")
    assert (await service.delete(f"/offers/{name}")).status_code == 200
    stored = documents(running["STORAGE_MONGO_URL"], running["STORAGE_DATABASE"], "offers")
    assert [event["id"] for event in stored[0]["owed"]] == [f"{name}.1.create", f"{name}.2.setact", f"{name}.3.delete"]
    assert tracker.ids == []
    tracker.status = 200
    await tracker.until(3)
    assert tracker.ids == [f"{name}.1.create", f"{name}.2.setact", f"{name}.3.delete"]


async def test_hidden_location_is_in_no_event(service: httpx.AsyncClient, tracker: Tracker) -> None:
    at = (13.412345678, 52.523456789)
    await service.post("/offers", json=offer(at=at, showLocation=False))
    await tracker.until(1)
    assert not {"13.412345678", "52.523456789"} & set(tracker.requests[0][2].values())


async def test_rejected_event_is_dropped_and_blocks_no_later_one(service: httpx.AsyncClient, tracker: Tracker) -> None:
    tracker.status = 413
    name = (await service.post("/offers", json=offer())).json()["_id"]
    await asyncio.sleep(1.0)  # the time to send it; the assertion below does not depend on it
    tracker.status = 200
    await service.put(f"/offers/{name}", json={"text": "short"})
    async with asyncio.timeout(10):
        while f"{name}.2.update" not in tracker.ids:  # noqa: ASYNC110 - the stub has no event for it
            await asyncio.sleep(0.02)


@pytest.mark.slow  # the lease of the killed process has to end
async def test_killed_storage_sends_each_event_after_its_restart(
    own_environ: dict[str, str], own_tracker: Tracker
) -> None:
    environ, tracker = {**own_environ, "STORAGE_EVENT_LEASE_S": "10"}, own_tracker
    tracker.status = 503
    names: list[str] = []
    process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
        [sys.executable, "-m", "services.storage"], cwd=ROOT, env=os.environ | environ
    )
    try:
        await wait_until_ready(environ["INTERNAL_PORT"])
        async with client_of(environ, SERVICE) as client:
            for _ in range(20):
                names.append((await client.post("/offers", json=offer())).json()["_id"])  # noqa: PERF401 - one by one
            tracker.status = 200
            with contextlib.suppress(TimeoutError):
                await tracker.until(5, limit_s=5.0)
    finally:
        process.kill()
        process.wait(10)
    sent_before = len(set(tracker.ids))
    async with storage_process(environ):
        await tracker.until(20, limit_s=60.0)
    assert sent_before > 0
    counts = Counter(tracker.ids)
    assert set(counts) == {f"{name}.1.create" for name in names}
