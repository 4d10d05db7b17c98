"""The pages on a real Redis, with their guard."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.schedule import ScheduleStore
from services.offerserver.app import Planned, create_app
from services.offerserver.core.exchanges import HttpExchange
from services.offerserver.core.reports import Difference, RunCounts, RunReport
from services.offerserver.core.values import Rejection
from services.offerserver.importers.catalog import all_importers, plan_of
from services.offerserver.metrics import OfferMetrics
from services.offerserver.settings import Settings
from services.offerserver.store.connection import schedule_of
from services.offerserver.store.leases import RunLeases
from services.offerserver.store.runs import RunOrder, RunStore

NAME = "berlin_markets"
PASSWORD = "a long enough password"
ORIGIN = "http://127.0.0.1:5000"
NOW_MS = 1_790_000_000_000


def report(number: int, **changes: Any) -> RunReport:
    values: dict[str, Any] = {
        "began_ms": NOW_MS + 1_000 * number,
        "ended_ms": NOW_MS + 1_000 * number + 1_500,
        "mode": "run",
        "grade": "trusted",
        "counts": RunCounts(items=10 * number, new=3, match=1, content=2, removed=4),
    } | changes
    return RunReport(number=number, **values)


SUSPECT = report(
    2,
    grade="partial",
    reasons=("21 of 100 rows were rejected",),
    rejections=(Rejection("<b>1</b>", "latitude", "NaN", "is not a decimal number"),),
    differences=(Difference("new", "id-1", "A <i>market</i>"),),
    pending=(Difference("removed", "id-9", "absent"),),
    digest="d" * 64,
    exchanges=(
        HttpExchange(
            url="https://feed.example/",
            status=200,
            received_bytes=1_500,
            headers={"etag": '"1"'},
            redirects=("https://other.example/",),
            head="<script>alert(1)</script>",
            error="status 500",
        ),
    ),
)


class Pages:
    """The pages, an operator's client, and the stores behind them."""

    def __init__(self, settings: Settings, redis: Redis, client: httpx.AsyncClient) -> None:
        self.store = RunStore(redis)
        self.schedule: ScheduleStore = schedule_of(redis, settings)
        self.leases = RunLeases(redis)
        self.client = client

    async def add(self, *reports: RunReport) -> None:
        for each in reports:
            async with self.leases.hold(NAME) as lease:
                assert lease is not None
                await self.store.finish(lease, each, await self.store.state(NAME))

    async def ordered(self) -> RunOrder | None:
        order = (await self.schedule.state(NAME)).order
        return RunOrder.decode(order) if order else None

    async def get(self, path: str, status: int = 200) -> str:
        response = await self.client.get(path)
        assert response.status_code == status
        return response.text


@pytest.fixture
async def pages(clean_redis: LocalRedis) -> AsyncIterator[Pages]:
    settings = Settings.from_env({"OFFERS_REDIS_URL": clean_redis.url, "OFFERS_PASSWORD": PASSWORD})
    importers = all_importers({})
    planned = Planned(importers, {name: plan_of(importer.source) for name, importer in importers.items()})
    async with Redis.from_url(clean_redis.url, decode_responses=True) as redis:
        app = create_app(settings, planned, redis, OfferMetrics(CollectorRegistry()))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url=ORIGIN,
            auth=("offers", PASSWORD),
            headers={"accept": "text/html", "origin": ORIGIN},
            follow_redirects=True,
        ) as client:
            yield Pages(settings, redis, client)


async def test_each_importer_has_a_row_before_its_first_run(pages: Pages) -> None:
    shown = await pages.get("/offers")
    for name in ("berlin_markets", "dbpedia", "nature_spots", "sensor_community"):
        assert f'href="/offers/{name}"' in shown
    assert shown.count("none yet") == 12
    assert "This importer has not run yet." in await pages.get(f"/offers/{NAME}")


async def test_row_has_the_last_run_and_a_line_of_all(pages: Pages) -> None:
    await pages.add(report(1), SUSPECT)
    shown = await pages.get("/offers")
    assert ">partial<" in shown
    assert f'href="/offers/{NAME}/runs/2">Look at it' in shown
    assert re.search(r'<polyline points="0\.0,12\.0 120\.0,1\.0">', shown)


async def test_runs_of_an_importer_are_shown(pages: Pages) -> None:
    await pages.add(report(1), SUSPECT)
    shown = await pages.get(f"/offers/{NAME}")
    for text in (
        "Senatsverwaltung für Wirtschaft, Energie und Betriebe, Berlin (daten.berlin.de)",
        "CC BY 3.0 DE",
        "BerlinDeDaten",
        "15 4 * * * (UTC)",
        "21 of 100 rows",
    ):
        assert text in shown
    assert f'href="/offers/{NAME}/runs/1"' in shown


async def test_run_shows_its_difference_its_rejections_and_its_requests(pages: Pages) -> None:
    await pages.add(report(1), SUSPECT)
    shown = await pages.get(f"/offers/{NAME}/runs/2")
    for text in (
        "21 of 100 rows were rejected",
        "A &lt;i&gt;market&lt;/i&gt;",
        "&lt;b&gt;1&lt;/b&gt;",
        "is not a decimal number",
        "https://feed.example/",
        "https://other.example/",
        "1.5 kB",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "status 500",
        'value="' + "d" * 64,
    ):
        assert text in shown
    assert "<script>alert" not in shown


async def test_only_the_last_run_can_be_accepted(pages: Pages) -> None:
    await pages.add(SUSPECT, report(3))
    shown = await pages.get(f"/offers/{NAME}/runs/2")
    assert "Accept this difference" not in shown
    assert "A later run has begun since." in shown


async def test_acceptance_is_ordered_for_the_next_run(pages: Pages) -> None:
    await pages.schedule.begin_planning(NAME)
    response = await pages.client.post(f"/offers/{NAME}/accept", data={"digest": "d" * 64})
    assert "The next check of beat accepts the run." in response.text
    assert await pages.ordered() == RunOrder("accept", "offers", "d" * 64)
    assert (await pages.schedule.state(NAME)).requested_by == "offers"
    assert "accept berlin_markets, <bdi>offers</bdi>" in await pages.get("/schedule")


async def test_dry_run_is_ordered_and_shown(pages: Pages) -> None:
    response = await pages.client.post(f"/offers/{NAME}/dry-run")
    assert "begins a dry run" in response.text
    assert await pages.ordered() == RunOrder("dry run", "offers")
    await pages.store.keep_dry_run(NAME, report(5, mode="dry run", differences=(Difference("new", "x", "y"),)))
    shown = await pages.get(f"/offers/{NAME}/runs/dry")
    assert "Nothing was written." in shown
    assert f'href="/offers/{NAME}/runs/dry"' in await pages.get(f"/offers/{NAME}")


async def test_second_order_changes_nothing_while_a_request_waits(pages: Pages) -> None:
    await pages.schedule.request(NAME, by="another")
    response = await pages.client.post(f"/offers/{NAME}/dry-run")
    assert "Nothing was changed: a request waits" in response.text
    assert await pages.ordered() is None


async def test_second_click_keeps_the_order_of_the_first(pages: Pages) -> None:
    for path in ("dry-run", "dry-run", "accept"):
        await pages.client.post(f"/offers/{NAME}/{path}", data={"digest": "d" * 64})
    assert await pages.ordered() == RunOrder("dry run", "offers")
    assert (await pages.schedule.state(NAME)).requested_ms is not None


async def test_acceptance_without_a_digest_is_refused(pages: Pages) -> None:
    for data in ({}, {"digest": "d" * 5_000}):
        assert (await pages.client.post(f"/offers/{NAME}/accept", data=data)).status_code == 422
    assert await pages.ordered() is None


@pytest.mark.parametrize("path", [f"/offers/{NAME}/dry-run", f"/offers/{NAME}/accept"])
async def test_orders_of_other_sites_or_without_a_login_are_refused(pages: Pages, path: str) -> None:
    data = {"digest": "d" * 64}
    elsewhere = await pages.client.post(path, data=data, headers={"origin": "https://elsewhere.example"})
    assert elsewhere.status_code == 403
    assert (await pages.client.post(path, data=data, auth=("offers", "wrong"))).status_code == 401
    assert (await pages.client.get(path)).status_code in (404, 405)
    assert await pages.ordered() is None


async def test_pages_need_a_login_but_for_the_check_of_the_old_system(pages: Pages) -> None:
    async with httpx.AsyncClient(transport=pages.client._transport, base_url=ORIGIN) as visitor:
        assert (await visitor.get("/offers")).status_code == 401
        assert (await visitor.get("/pingdom")).text == "ok"
        assert (await visitor.head("/pingdom")).status_code == 200


async def test_paths_of_the_old_system_lead_to_the_importers(pages: Pages) -> None:
    for path in ("/", "/sidekiq", "/sidekiq/", "/sidekiq/queues"):
        assert "<h1>Importers</h1>" in await pages.get(path)


@pytest.mark.parametrize(
    "path", ["/offers/nobody", "/offers/nobody/runs/1", f"/offers/{NAME}/runs/7", f"/offers/{NAME}/runs/dry"]
)
async def test_unknown_importer_or_run_is_not_found(pages: Pages, path: str) -> None:
    await pages.get(path, 404)
    assert (await pages.client.post("/offers/nobody/dry-run")).status_code == 404


async def test_schedule_has_the_commands_of_the_importers(pages: Pages) -> None:
    assert "Run now" in await pages.get(f"/schedule/{NAME}")
    assert 'name="reason"' in await pages.get(f"/schedule/{NAME}/pause")
    await pages.client.post(f"/schedule/{NAME}/pause", data={"reason": " the <b>source</b>\nmoves "})
    for path in ("/offers", f"/offers/{NAME}", "/schedule"):
        shown = await pages.get(path)
        assert ">paused<" in shown
        assert "the &lt;b&gt;source&lt;/b&gt; moves" in shown
    await pages.client.post(f"/schedule/{NAME}/resume")
    assert ">paused<" not in await pages.get("/offers")


async def test_reason_of_a_pause_may_be_empty_and_is_bounded(pages: Pages) -> None:
    await pages.client.post(f"/schedule/{NAME}/pause", data={"reason": "x" * 10_000})
    state = await pages.schedule.state(NAME)
    assert (state.paused_ms is not None, state.paused_reason) == (True, "")
