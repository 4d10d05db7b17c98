"""The pages of the schedule, on a real Redis."""

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from services.backbone import names
from services.backbone.dead_actions import DeadAction, DeadActions
from services.backbone.schedule import ScheduleStore
from services.consumers.core.jobs import EXPIRE_DEAD_ACTIONS
from services.consumers.store.schedule import SERVICE
from tests.contract.actions.acting_bench import environ_of_pages, eventually, page

JOB = EXPIRE_DEAD_ACTIONS.name
PASSWORD = "a long enough password"
DAY_MS = 86_400_000


@pytest.fixture
def environ(own_redis: LocalRedis) -> dict[str, str]:
    return environ_of_pages(own_redis, ACTIONS_WORKER_PROCESSES="1", SCHEDULE_CHECK_S="0.2")


async def test_new_job_is_shown_before_its_first_check(pages: httpx.AsyncClient) -> None:
    shown = await page(pages, "/schedule")
    assert JOB in shown
    assert "never checked" in shown
    assert "none yet" in shown
    assert "This job has not run yet." in await page(pages, f"/schedule/{JOB}")


async def test_runs_are_shown_with_their_results(pages: httpx.AsyncClient, schedule: ScheduleStore) -> None:
    await schedule.begin_planning(JOB)
    now_ms = time.time_ns() // 1_000_000
    done = await schedule.begin(JOB, now_ms - 5000)
    assert done is not None
    await schedule.end(done, "done", "deleted <b>3</b>")
    assert await schedule.record_missed(JOB, (now_ms - 4000, now_ms - 3000)) == 2
    failed = await schedule.begin(JOB, now_ms - 2000, by="")
    assert failed is not None
    await schedule.end(failed, "failed", "ValueError: no")
    assert await schedule.begin(JOB, now_ms - 1000) is not None
    shown = await page(pages, f"/schedule/{JOB}")
    for text in ("deleted &lt;b&gt;3", "ValueError: no", "2 planned times", "running", "missed", "failed"):
        assert text in shown
    await schedule._redis.delete(names.job_running_key(SERVICE, JOB))  # the time limit has passed
    lost = await page(pages, f"/schedule/{JOB}")
    assert "running" not in lost
    assert ">lost<" in lost


async def test_commands_are_confirmed_and_audited(pages: httpx.AsyncClient, schedule: ScheduleStore) -> None:
    await schedule.begin_planning(JOB)
    assert f"Pause {JOB}?" in await page(pages, f"/schedule/{JOB}/pause")
    assert (await schedule.state(JOB)).paused_ms is None
    assert "The job is paused." in (await pages.post(f"/schedule/{JOB}/pause")).text
    assert "was paused already" in (await pages.post(f"/schedule/{JOB}/pause")).text
    assert "It runs once, also if it is paused" in await page(pages, f"/schedule/{JOB}/run")
    assert "The next check of beat runs the job." in (await pages.post(f"/schedule/{JOB}/run")).text
    assert "Nothing was changed: a request waits" in (await pages.post(f"/schedule/{JOB}/run")).text
    assert "runs again at its next planned time" in (await pages.post(f"/schedule/{JOB}/resume")).text
    shown = await page(pages, "/schedule")
    for what in ("pause", "run now", "resume"):
        assert f"{what} {JOB}, <bdi>consumers</bdi>" in shown
    assert f"pause {JOB}" not in await page(pages, "/dead"), "it lists what was done to the dead list"


async def test_request_of_another_site_changes_nothing(pages: httpx.AsyncClient, schedule: ScheduleStore) -> None:
    response = await pages.post(f"/schedule/{JOB}/pause", headers={"origin": "https://elsewhere.example"})
    assert response.status_code == 403
    assert (await schedule.state(JOB)).paused_ms is None


@pytest.mark.parametrize("path", ["/schedule/other", "/schedule/other/run", f"/schedule/{JOB}/delete"])
async def test_unknown_job_or_command_is_not_found(pages: httpx.AsyncClient, path: str) -> None:
    assert (await pages.get(path)).status_code == 404
    assert (await pages.post(f"{path}/run" if path == "/schedule/other" else path)).status_code == 404


async def test_missing_redis_is_reported(pages: httpx.AsyncClient, own_redis: LocalRedis) -> None:
    own_redis.process.stop()
    for response in (await pages.get("/schedule"), await pages.post(f"/schedule/{JOB}/run")):
        assert response.status_code == 503
        assert "Redis of the schedule does not respond" in response.text


@pytest.mark.slow
async def test_run_from_the_page_deletes_old_dead_actions(
    pages: httpx.AsyncClient, schedule: ScheduleStore, environ: dict[str, str], tmp_path: Path
) -> None:
    now_ms = time.time_ns() // 1_000_000
    processes = [
        ServiceProcess("consumers", kind, label=kind, logs=tmp_path, env=environ) for kind in ("worker", "beat")
    ]
    async with Redis.from_url(environ["ACTIONS_REDIS_URL"], decode_responses=True) as redis:
        dead = DeadActions(redis)
        for number, age_days in enumerate((29, 31, 400)):
            invalid = number == 1
            action = DeadAction("geo_updates", str(age_days), "{}", "no", "", 5, now_ms - age_days * DAY_MS, invalid)
            await dead.write(action)
        try:
            for process in processes:
                process.start()
            for process in processes:
                await asyncio.to_thread(process.wait_until_ready)
            await pages.post(f"/schedule/{JOB}/run")

            async def is_done() -> bool:
                return (await schedule.state(JOB)).counts["done"] == 1

            await eventually(is_done)
            assert [action.id for action in await dead.find()] == ["29"]
        finally:
            for process in processes:
                await asyncio.to_thread(process.stop)
    shown = await page(pages, f"/schedule/{JOB}")
    assert "deleted 2 entries of the dead list" in shown
    assert "by <bdi>consumers</bdi>" in shown
