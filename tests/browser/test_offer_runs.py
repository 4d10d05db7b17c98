"""Runs of an importer by a real worker, ordered and accepted in a browser."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.redis import LocalRedis
from tests.contract.offerserver.bench import ImportBench, feed, import_bench, thing, things
from tests.contract.offerserver.processes import environ_of, running_processes
from tests.contract.storage.api.serving import SharedStorage


@pytest.fixture(scope="module")
def shared_storage(mongo_server: MongoServer) -> Iterator[SharedStorage]:
    shared = SharedStorage(mongo_server.url, "t-browser-offers")
    with shared.running():
        yield shared


@pytest.fixture
async def bench(clean_redis: LocalRedis, shared_storage: SharedStorage) -> AsyncIterator[ImportBench]:
    async with import_bench(clean_redis.url, shared_storage, timeout_s=2.0) as made:
        yield made


@pytest.fixture
def url(bench: ImportBench, clean_redis: LocalRedis, shared_storage: SharedStorage, tmp_path: Path) -> Iterator[str]:
    environ = environ_of(clean_redis.url, shared_storage, bench.server.url(), tmp_path)
    with running_processes(environ, tmp_path) as found:
        for process in found.values():
            process.wait_until_ready()
        yield f"http://127.0.0.1:{environ['OFFERS_PORT']}"


async def order(page: Page, url: str, button: str) -> None:
    """Press the button until the order is taken. A second `Run now` within ten seconds could be a double click."""
    async with asyncio.timeout(60):
        while True:
            await page.goto(url)
            await page.get_by_role("button", name=button).click()
            status = page.get_by_role("status")
            await expect(status).to_be_visible()
            if "Nothing was changed" not in await status.inner_text():
                return
            await asyncio.sleep(1.0)


async def open_when_shown(page: Page, url: str, text: str) -> None:
    """Load a page again until it shows the text: a worker has ended a run."""
    async with asyncio.timeout(60):
        while True:
            await page.goto(url)
            if await page.get_by_text(text).count():
                return
            await asyncio.sleep(0.2)


async def test_worker_does_the_dry_run_the_run_and_the_accepted_run(page: Page, url: str, bench: ImportBench) -> None:
    things_url = f"{url}/offers/things"
    bench.serve(things(range(10)))
    await order(page, things_url, "Dry run")
    await open_when_shown(page, f"{things_url}/runs/dry", "Nothing was written.")
    await expect(page.get_by_text("thing-9", exact=True)).to_be_visible()
    assert await bench.ids() == []

    await order(page, f"{url}/schedule/things/run", "Run now")
    await open_when_shown(page, f"{things_url}/runs/2", "What was written")
    assert await bench.ids() == [f"thing-{number}" for number in range(10)]

    # The source gives each thing another id, so the run waits for the operator.
    bench.serve(feed(thing(number, id=f"other-{number}") for number in range(10)))
    await order(page, f"{url}/schedule/things/run", "Run now")
    await open_when_shown(page, f"{things_url}/runs/3", "What was not written")
    await expect(page.get_by_text("other-9", exact=True)).to_be_visible()
    assert await bench.ids() == [f"thing-{number}" for number in range(10)]

    await order(page, f"{things_url}/runs/3", "Accept this difference")
    await open_when_shown(page, f"{things_url}/runs/4", "What was written")
    assert await bench.ids() == [f"other-{number}" for number in range(10)]
