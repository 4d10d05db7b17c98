"""Importers begin at their times while others wait for sources that do not respond. Redis goes away and comes back."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.ports import free_port
from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from services.backbone import names
from services.backbone.schedule import ScheduleStore
from services.offerserver.importers.directory import importers_of
from services.offerserver.settings import Settings
from services.offerserver.store.connection import open_schedule
from tests.contract.offerserver.bench import OWNER, ImportBench, source_at, things
from tests.contract.storage.api.serving import SERVICE, SharedStorage
from tests.unit.offerserver.hostile import hostile_server

HANGING = ("hanging_a", "hanging_b", "hanging_c")
PROMPT = ("prompt_a", "prompt_b", "prompt_c", "prompt_d")
KINDS = ("admin", "worker", "beat")
_READY_S = 60


async def silent(_writer: Any) -> None:
    await asyncio.sleep(600)


def add_source(directory: Path, name: str, url: str, *, schedule: str) -> None:
    text = source_at(url).replace("name: things", f"name: {name}", 1).replace(f"owner: {OWNER}", f"owner: {name}")
    (directory / f"{name}.yaml").write_text(text.replace('"5 4 * * *"', f'"{schedule}"'))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    directory = tmp_path / "sources"
    directory.mkdir()
    return directory


@pytest.fixture
def environ(own_redis: LocalRedis, shared_storage: SharedStorage, sources: Path) -> dict[str, str]:
    """Return the settings with the usual time between checks, of tests with a Redis of their own."""
    return {
        "OFFERS_REDIS_URL": own_redis.url,
        "OFFERS_STORAGE_URL": f"http://127.0.0.1:{shared_storage.environ['STORAGE_PORT']}",
        "OFFERS_SOURCES": str(sources),
        "OFFERS_CONTACT": "https://push.example/",
        "OFFERS_PORT": str(free_port()),
        "OFFERS_HOST_DELAY_S": "0.01",
        "STORAGE_PASSWORD": SERVICE[1],
        "OUTGOING_ALLOWED_NETWORKS": "127.0.0.0/8",
        "LOG_FORMAT": "json",
    }


@pytest.fixture
def processes(environ: dict[str, str], tmp_path: Path) -> Iterator[dict[str, ServiceProcess]]:
    """Yield the processes, not started."""
    found = {kind: ServiceProcess("offerserver", kind, label=kind, logs=tmp_path, env=environ) for kind in KINDS}
    yield found
    for process in found.values():
        process.process.terminate()
    for process in found.values():
        process.stop()


@pytest.fixture
async def schedule(environ: dict[str, str]) -> AsyncIterator[ScheduleStore]:
    store = open_schedule(Settings.from_env(environ))
    yield store
    await store.aclose()


async def eventually(condition: Callable[[], Awaitable[bool]], *, timeout_s: float = 60) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.1)


async def start(processes: dict[str, ServiceProcess]) -> None:
    for process in processes.values():
        process.start()
    for process in processes.values():
        await asyncio.to_thread(process.wait_until_ready)


async def done(schedule: ScheduleStore, job: str) -> int:
    return (await schedule.state(job)).counts["done"]


async def run_once(schedule: ScheduleStore, job: str) -> None:
    """Request a run, and wait until it has ended."""
    before = await done(schedule, job)
    assert await schedule.request(job, by="test")

    async def is_done() -> bool:
        return await done(schedule, job) > before

    await eventually(is_done)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_importers_begin_within_a_second_while_others_wait_for_silent_sources(
    processes: dict[str, ServiceProcess],
    sources: Path,
    bench: ImportBench,
    schedule: ScheduleStore,
    own_redis: LocalRedis,
) -> None:
    bench.serve(things(range(3)))
    async with contextlib.AsyncExitStack() as servers:
        for name in HANGING:  # each on a host of its own, so that no turn of a host delays another importer
            hanging = await servers.enter_async_context(hostile_server())
            hanging.responses["/feed"] = silent
            add_source(sources, name, hanging.url(), schedule="0 0 1 1 *")
        for name in PROMPT:
            add_source(sources, name, bench.server.url(), schedule="* * * * *")
        assert set(HANGING + PROMPT) < set(importers_of(sources))
        await start(processes)

        async def is_planned() -> bool:
            states = await schedule.states((*HANGING, *PROMPT))
            return all(state.mark_ms is not None for state in states.values())

        await eventually(is_planned)
        for name in HANGING:
            assert await schedule.request(name, by="test")

        async def all_hang() -> bool:
            return all(state.is_running for state in (await schedule.states(HANGING)).values())

        await eventually(all_hang, timeout_s=3)

        async def all_ran() -> bool:
            return all([await done(schedule, name) for name in PROMPT])

        await eventually(all_ran, timeout_s=90)
        assert await all_hang()
        runs = [run for name in PROMPT for run in await schedule.runs(name) if run.result == "done"]
        delays = sorted(run.begun_ms - run.planned_ms for run in runs)
        print(f"ms from the planned time to the begin: {delays}")  # noqa: T201 - the test reports its measurement
        assert delays[0] >= 0
        assert delays[-1] < 1000
        async with Redis.from_url(own_redis.url) as redis:
            assert await redis.llen(names.schedule_queue("offers")) <= 1


def cpu_s(pid: int) -> float:
    """Return the seconds of processor time of a process and its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def group_cpu_s(pid: int) -> float:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_s(pid) + sum(group_cpu_s(int(child)) for child in children)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "outage_s"), [("killed", 5), ("killed", 25), ("frozen", 15)])
async def test_importers_run_again_after_an_outage_of_redis(
    kind: str,
    outage_s: int,
    *,
    environ: dict[str, str],
    processes: dict[str, ServiceProcess],
    sources: Path,
    bench: ImportBench,
    schedule: ScheduleStore,
    own_redis: LocalRedis,
) -> None:
    bench.serve(things(range(3)))
    add_source(sources, "things", bench.server.url(), schedule="0 0 1 1 *")
    await start(processes)
    await run_once(schedule, "things")
    used_s = {name: group_cpu_s(process.pid) for name, process in processes.items()}
    pids = {name: process.pid for name, process in processes.items()}
    lines = {name: len(process.log.read_text().splitlines()) for name, process in processes.items()}
    if kind == "killed":
        own_redis.process.kill()
    else:
        own_redis.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(outage_s)
    async with httpx.AsyncClient(timeout=20) as client:
        statuses = {
            name: (await client.get(f"{process.internal_url}/readyz")).status_code
            for name, process in processes.items()
        }
        page = await client.get(f"http://127.0.0.1:{environ['OFFERS_PORT']}/offers", headers={"accept": "text/html"})
    assert statuses == {"admin": 200, "worker": 503, "beat": 503}  # the pages serve, and say that Redis is away
    assert (page.status_code, "The Redis of the importers does not respond" in page.text) == (503, True)
    used_s = {name: group_cpu_s(process.pid) - used_s[name] for name, process in processes.items()}
    if kind == "killed":
        own_redis.start()
    else:
        own_redis.process.send_signal(signal.SIGCONT)
    await asyncio.to_thread(own_redis.wait_ready)
    await asyncio.sleep(11)  # a second request within ten seconds has no effect
    await run_once(schedule, "things")
    for name, process in processes.items():
        assert (process.is_alive, process.pid) == (True, pids[name])
        await asyncio.to_thread(process.wait_until_ready)
        new = process.log.read_text().splitlines()[lines[name] :]
        print(name, f"{used_s[name]:.1f} s of processor time, {len(new)} lines:", *new, sep="\n  ")  # noqa: T201 - shown on failure
        assert used_s[name] < 0.2 * outage_s + 1
        assert len(new) <= 25
        events = [json.loads(line)["event"] for line in new]
        assert events.count("redis_unavailable") <= 2


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_processes_start_without_redis_and_work_when_it_comes(
    processes: dict[str, ServiceProcess],
    sources: Path,
    bench: ImportBench,
    schedule: ScheduleStore,
    own_redis: LocalRedis,
) -> None:
    bench.serve(things(range(3)))
    add_source(sources, "things", bench.server.url(), schedule="0 0 1 1 *")
    own_redis.process.kill()
    for process in processes.values():
        process.start()
    await asyncio.sleep(10)
    assert all(process.is_alive for process in processes.values())
    assert not processes["worker"].is_ready()
    own_redis.start()
    for process in processes.values():
        await asyncio.to_thread(process.wait_until_ready)
    await run_once(schedule, "things")
    assert len(await bench.offers("things")) == 3


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_run_over_an_outage_of_redis_that_ends_meanwhile_is_reported_afterwards(
    processes: dict[str, ServiceProcess],
    sources: Path,
    bench: ImportBench,
    schedule: ScheduleStore,
    own_redis: LocalRedis,
) -> None:
    """The run can't check its lease in the outage, so it writes nothing. Its end is recorded when Redis is back."""
    feed = bench.server.url()
    bench.serve(things(range(3)))
    body = bench.server.responses["/feed"]
    asked, may_respond = asyncio.Event(), asyncio.Event()

    async def respond_late(writer: asyncio.StreamWriter) -> None:
        asked.set()
        await may_respond.wait()
        writer.write(body)

    bench.server.responses["/feed"] = respond_late
    add_source(sources, "things", feed, schedule="0 0 1 1 *")
    await start(processes)
    assert await schedule.request("things", by="test")
    await asyncio.wait_for(asked.wait(), 20)
    own_redis.process.kill()
    may_respond.set()
    await asyncio.sleep(20)
    assert await bench.offers("things") == []
    own_redis.start()
    await asyncio.to_thread(own_redis.wait_ready)

    async def has_failed() -> bool:
        return (await schedule.state("things")).counts["failed"] == 1

    await eventually(has_failed, timeout_s=20)
    assert await bench.offers("things") == []
    await asyncio.sleep(5)
    bench.serve(things(range(3)))
    await run_once(schedule, "things")
    assert len(await bench.offers("things")) == 3
