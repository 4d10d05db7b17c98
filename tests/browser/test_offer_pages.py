"""The pages of the importers in a browser: axe finds nothing, nothing scrolls sideways, and orders are given."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from playwright.async_api import Browser, Page, expect
from redis.asyncio import Redis

from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from services.backbone.schedule import ScheduleStore
from services.offerserver.store.connection import SERVICE
from services.offerserver.store.leases import RunLeases
from services.offerserver.store.runs import RunOrder, RunStore
from tests.browser.test_accessibility import SCREENS, findings_of_axe, viewport
from tests.unit.offerserver.routes.test_pages import NAME, SUSPECT, report

PATHS = (
    *("/offers", f"/offers/{NAME}", "/offers/dbpedia", f"/offers/{NAME}/runs/1", f"/offers/{NAME}/runs/2"),
    *(
        f"/offers/{NAME}/runs/dry",
        f"/offers/{NAME}?done=waits",
        f"/schedule/{NAME}/pause",
        "/schedule",
        "/offers/nobody",
    ),
)


@pytest.fixture
def environ(clean_redis: LocalRedis) -> dict[str, str]:
    return {"OFFERS_PORT": str(free_port()), "OFFERS_REDIS_URL": clean_redis.url, "LOG_FORMAT": "json"}


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    """A store with a history, a run that can be accepted, a dry run, and long words."""
    client = Redis.from_url(clean_redis.url, decode_responses=True)
    store, leases = RunStore(client), RunLeases(client)
    long = msgspec.structs.replace(SUSPECT, reasons=("x" * 300, *SUSPECT.reasons))
    for each in (report(1), long):
        async with leases.hold(NAME) as lease:
            assert lease is not None
            await store.finish(lease, each, await store.state(NAME))
    await store.keep_dry_run(NAME, report(3, mode="dry run", differences=SUSPECT.differences))
    yield client
    await client.aclose()


@pytest.fixture
def url(environ: dict[str, str], redis: Redis, tmp_path: Path) -> Iterator[str]:
    del redis
    process = ServiceProcess("offerserver", "admin", label="offers", logs=tmp_path, env=environ)
    process.start()
    process.wait_until_ready()
    yield f"http://{LOOPBACK}:{environ['OFFERS_PORT']}"
    process.stop()


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_accessible(
    browser: Browser, url: str, axe_source: str, scheme: Literal["light", "dark"], screen: str
) -> None:
    page = await browser.new_page(color_scheme=scheme, viewport=viewport(screen))
    for path in PATHS:
        await page.goto(url + path)
        assert await findings_of_axe(page, axe_source) == [], path
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"


async def test_dry_run_is_ordered_and_a_run_is_accepted_with_the_buttons(page: Page, url: str, redis: Redis) -> None:
    schedule = ScheduleStore(redis, SERVICE, limit_s=60)
    await page.goto(f"{url}/offers")
    await page.get_by_role("link", name="dbpedia").click()
    await page.get_by_role("button", name="Dry run").click()
    await expect(page.get_by_role("status")).to_contain_text("begins a dry run")
    assert RunOrder.decode((await schedule.state("dbpedia")).order).mode == "dry run"
    await page.goto(f"{url}/offers")
    await page.get_by_role("link", name="Look at it").click()
    await expect(page.get_by_text("id-9")).to_be_visible()
    await page.get_by_role("button", name="Accept this difference").click()
    await expect(page.get_by_role("status")).to_contain_text("accepts the run")
    accepted = RunOrder.decode((await schedule.state(NAME)).order)
    assert (accepted.mode, accepted.digest) == ("accept", SUSPECT.digest)
