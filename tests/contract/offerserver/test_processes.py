"""The processes of the offerserver: pages, worker and beat, with a source of the operator."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from services.backbone.schedule import ScheduleStore
from services.offerserver.settings import Settings
from services.offerserver.store.connection import open_schedule
from tests.contract.offerserver.bench import ImportBench, things
from tests.contract.offerserver.processes import environ_of, running_processes
from tests.contract.storage.api.serving import SharedStorage

PASSWORD = "a long enough password"


@pytest.fixture
def environ(
    clean_redis: LocalRedis, shared_storage: SharedStorage, bench: ImportBench, tmp_path: Path
) -> dict[str, str]:
    found = environ_of(clean_redis.url, shared_storage, bench.server.url(), tmp_path)
    return found | {"OFFERS_PASSWORD": PASSWORD}


@pytest.fixture
def processes(environ: dict[str, str], tmp_path: Path) -> Iterator[dict[str, ServiceProcess]]:
    with running_processes(environ, tmp_path) as found:
        yield found


@pytest.fixture
async def schedule(environ: dict[str, str]) -> AsyncIterator[ScheduleStore]:
    store = open_schedule(Settings.from_env(environ))
    yield store
    await store.aclose()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_run_from_the_page_imports_the_feed(
    processes: dict[str, ServiceProcess], environ: dict[str, str], bench: ImportBench, schedule: ScheduleStore
) -> None:
    bench.serve(things(range(3)))
    for process in processes.values():
        await asyncio.to_thread(process.wait_until_ready)
    url = f"http://127.0.0.1:{environ['OFFERS_PORT']}"
    headers = {"accept": "text/html", "origin": url}

    async def is_checked() -> bool:
        return (await schedule.state("things")).mark_ms is not None

    async def is_done() -> bool:
        return (await schedule.state("things")).counts["done"] == 1

    await eventually(is_checked)
    async with httpx.AsyncClient(
        base_url=url, auth=("offers", PASSWORD), headers=headers, follow_redirects=True
    ) as page:
        assert "things" in (await page.get("/offers")).text
        await page.post("/schedule/things/run")
        await eventually(is_done)
        assert await bench.ids() == ["thing-0", "thing-1", "thing-2"]
        assert ">trusted<" in (await page.get("/offers/things")).text
    metrics = await asyncio.to_thread(processes["admin"].metrics)
    assert 'push_offers_runs_total{grade="trusted",importer="things"} 1.0' in metrics
    assert 'push_offers_items_total{importer="things",result="new"} 3.0' in metrics
    assert 'push_offers_interval_seconds{importer="things"} 86400.0' in metrics
    (run,) = [each for each in await schedule.runs("things") if each.result == "done"]
    assert (run.note, run.by) == ("run: trusted: 3 new", "offers")


def test_invalid_source_stops_the_start_with_its_file(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sources" / "broken.yaml").write_text("name: broken")
    process = ServiceProcess("offerserver", "worker", label="broken", logs=tmp_path, env=environ)
    process.start()
    until_s = time.monotonic() + 30
    while process.is_alive and time.monotonic() < until_s:
        time.sleep(0.1)
    process.kill()
    assert "OFFERS_SOURCES: broken.yaml: " in process.log.read_text()
