"""The pages of a schedule in a browser: axe finds nothing, nothing scrolls sideways, and the buttons work."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Browser, Page, expect

from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from services.consumers.core.jobs import EXPIRE_DEAD_ACTIONS
from services.consumers.settings import Settings
from services.consumers.store.schedule import open_schedule
from tests.browser.test_accessibility import SCREENS, findings_of_axe, viewport

JOB = EXPIRE_DEAD_ACTIONS.name
PATHS = ("/schedule", f"/schedule/{JOB}", f"/schedule/{JOB}/run", f"/schedule/{JOB}/pause", "/schedule?done=not-run")


@pytest.fixture
def environ(clean_redis: LocalRedis) -> dict[str, str]:
    return {"CONSUMERS_PORT": str(free_port()), "ACTIONS_REDIS_URL": clean_redis.url, "LOG_FORMAT": "json"}


@pytest.fixture
def url(environ: dict[str, str], tmp_path: Path) -> Iterator[str]:
    process = ServiceProcess("consumers", "admin", label="admin", logs=tmp_path, env=environ)
    process.start()
    process.wait_until_ready()
    yield f"http://{LOOPBACK}:{environ['CONSUMERS_PORT']}"
    process.stop()


async def fill(environ: dict[str, str]) -> None:
    """Write a history with every result, and an entry of the audit list."""
    schedule = open_schedule(Settings.from_env(environ))
    now_ms = time.time_ns() // 1_000_000
    await schedule.begin_planning(JOB)
    for age_ms, result in ((9000, "done"), (8000, "failed")):
        run = await schedule.begin(JOB, now_ms - age_ms, by="consumers")
        assert run is not None
        await schedule.end(run, "done" if result == "done" else "failed", f"{result}: " + "a long note " * 30)
    await schedule.record_missed(JOB, (now_ms - 7000, now_ms - 6000))
    await schedule.begin(JOB, now_ms - 5000)
    await schedule.pause(JOB, by="consumers")
    await schedule.aclose()


@pytest.fixture
async def filled_url(url: str, environ: dict[str, str]) -> str:
    await fill(environ)
    return url


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_accessible(
    browser: Browser, filled_url: str, axe_source: str, scheme: Literal["light", "dark"], screen: str
) -> None:
    page = await browser.new_page(color_scheme=scheme, viewport=viewport(screen))
    for path in PATHS:
        await page.goto(filled_url + path)
        assert await findings_of_axe(page, axe_source) == [], path
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"


async def test_job_is_paused_and_resumed_with_the_buttons(page: Page, url: str) -> None:
    await page.goto(f"{url}/schedule")
    await page.get_by_role("link", name="Pause …").click()
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("status")).to_contain_text("The job is paused.")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.get_by_role("status")).to_contain_text("runs again at its next planned time")
    await page.get_by_role("link", name="Run now …").click()
    await page.get_by_role("button", name="Run now").click()
    await expect(page.get_by_text("requested")).to_be_visible()
