"""The pages of the actions: what operators see of the handlers, and what they change in the dead list."""

import asyncio
import json
import re
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.action_overview import ActionOverview, ConsumerState
from services.backbone.clock import clock_ms
from services.backbone.dead_actions import MOST_DEAD, DeadAction, DeadActions
from services.consumers.core.actions import Action
from services.consumers.store.actions import ActionStore
from tests.contract.actions.acting_bench import environ_of_pages, page

PASSWORD = "a long enough password"
MOST_P95_S = 0.5
FINISHED = 100_000
TRACEBACK = '  File "/push/services/consumers/tasks.py", line 142, in _act\n    await handler.act(clients)\n' * 32
"""3,000 characters, as of a request that fails in the HTTP client."""


@pytest.fixture
async def redis(own_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(own_redis.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def environ(own_redis: LocalRedis) -> dict[str, str]:
    return environ_of_pages(own_redis)


def dead_action(number: int, *, text: str = "no") -> DeadAction:
    arguments = json.dumps({"owner": f"<b>owner {number}</b>"})
    return DeadAction("bulk_data", f"id-{number}", arguments, f"ValueError: {text}", "Traceback: line", 5, number)


def confirmed(asked: httpx.Response, form: dict[str, Any]) -> dict[str, Any]:
    """Return the form of a confirmation page."""
    return form | dict(re.findall(r'name="(until)" value="(\d+)"', asked.text))


def row_of(shown: str, handler: str) -> list[str]:
    """Return the cells of the row of a handler, without its name."""
    row = shown.partition(f'<th scope="row">{handler}</th>')[2].partition("</tr>")[0]
    return [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row)]


async def test_old_addresses_lead_to_the_pages(pages: httpx.AsyncClient) -> None:
    for path in ("/", "/sidekiq"):
        assert (await pages.get(path)).url.path == "/actions"
    assert (await pages.get("/pingdom", auth=None)).text == "ok"
    assert (await pages.get("/actions", auth=("consumers", "wrong"))).status_code == 401


async def test_overview_shows_handlers_and_workers(pages: httpx.AsyncClient, redis: Redis) -> None:
    await redis.rpush(names.action_queue("geo_updates"), "task", "task")
    await redis.set(names.away_key("match_notifier"), "status 503")
    overview = ActionOverview(redis)
    await overview.write_worker("worker-one", silence_s=60)
    await overview.write_worker("worker-two", silence_s=-1)
    for process, until_ms in (("one", clock_ms() + 60_000), ("two", clock_ms() + 60_000), ("gone", 1000)):
        await overview.write_consumer("match_notifier", process, ConsumerState(7000, 1300, 500, 2.0, until_ms))
    await DeadActions(redis).write(dead_action(1))
    shown = await page(pages, "/actions")
    assert "status 503" in shown
    workers = {row.partition("</bdi>")[0]: row for row in shown.split('<th scope="row"><bdi>')}
    assert ["silent" in workers[worker] for worker in ("worker-one", "worker-two")] == [False, True]
    assert row_of(shown, "match_notifier")[:3] == ["2", "14,000", "2,600"]
    assert "no consumer" in row_of(shown, "geo_updates")[-1]
    assert '<a href="/dead?handler=bulk_data">1</a>' in shown


async def test_overview_shows_why_a_handler_is_off(pages: httpx.AsyncClient) -> None:
    shown = await page(pages, "/actions")
    rows = {row.partition("</th>")[0]: row for row in shown.split('<th scope="row">')}
    assert "off" in rows["chatbot"]
    assert "SENDBIRD_APP_ID is not set" in rows["chatbot"]
    assert "GEONAMES_USER is not set" in rows["geonames"]
    assert "no consumer" in rows["bulk_data"]


async def test_chosen_action_is_retried_once_after_a_confirmation(pages: httpx.AsyncClient, redis: Redis) -> None:
    dead = DeadActions(redis)
    for number in range(3):
        await dead.write(dead_action(number))
    shown = await page(pages, "/dead")
    assert "&lt;b&gt;owner 1" in shown
    assert "<b>owner" not in shown
    form = {"verb": "retry", "what": "chosen", "name": ["bulk_data:id-1"]}
    asked = await pages.post("/dead", data=form)
    assert "Retry 1 action?" in asked.text
    assert await dead.size() == 3
    done = await pages.post("/dead", data=confirmed(asked, form))
    assert "1 action is retried" in done.text
    again = await pages.post("/dead", data=confirmed(asked, form))
    assert "0 actions are retried" in again.text
    assert await redis.hgetall(names.retried_actions_key("bulk_data")) == {"id-1": dead_action(1).arguments}
    assert "retry 1" in await page(pages, "/dead")


async def test_all_that_match_are_deleted_together(pages: httpx.AsyncClient, redis: Redis) -> None:
    dead = DeadActions(redis)
    for number in range(120):
        await dead.write(dead_action(number, text="gone" if number % 2 else "kept"))
    form = {"verb": "delete", "what": "all", "q": "gone"}
    asked = await pages.post("/dead", data=form)
    assert "Delete 60 actions?" in asked.text
    await dead.write(dead_action(120, text="gone"))
    assert "60 actions are deleted" in (await pages.post("/dead", data=confirmed(asked, form))).text
    await dead.delete([dead_action(120)], by="test")
    assert {action.reason for action in await dead.find()} == {"ValueError: kept"}


async def test_invalid_events_are_not_among_the_retried(pages: httpx.AsyncClient, redis: Redis) -> None:
    dead = DeadActions(redis)
    for number in range(3):
        await dead.write(msgspec.structs.replace(dead_action(number), is_invalid=number > 0))
    form = {"verb": "retry", "what": "all"}
    asked = await pages.post("/dead", data=form)
    assert "Retry 1 action?" in asked.text
    assert "1 action is retried" in (await pages.post("/dead", data=confirmed(asked, form))).text
    refused = await pages.post("/dead", data={"verb": "retry", "what": "chosen", "name": ["bulk_data:id-1"]})
    assert refused.status_code == 422
    assert "Delete 2 actions?" in (await pages.post("/dead", data={"verb": "delete", "what": "all"})).text


async def test_unknown_handler_selects_only_its_own_actions(pages: httpx.AsyncClient, redis: Redis) -> None:
    dead = DeadActions(redis)
    await dead.write(dead_action(1))
    await dead.write(msgspec.structs.replace(dead_action(2), handler="removed"))
    assert (await pages.post("/dead", data={"verb": "delete", "what": "all", "handler": "other"})).status_code == 422
    assert "No dead action matches" in await page(pages, "/dead?handler=other")
    assert "owner 2" in await page(pages, "/dead?handler=removed")
    form = {"verb": "delete", "what": "all", "handler": "removed"}
    asked = await pages.post("/dead", data=form)
    assert "1 action is deleted" in (await pages.post("/dead", data=confirmed(asked, form))).text
    assert [found.handler for found in await dead.find()] == ["bulk_data"]


async def test_request_of_another_site_changes_nothing(pages: httpx.AsyncClient, redis: Redis) -> None:
    await DeadActions(redis).write(dead_action(1))
    form = {"verb": "delete", "what": "all", "until": "1"}
    response = await pages.post("/dead", data=form, headers={"origin": "https://elsewhere.example"})
    assert response.status_code == 403
    assert await DeadActions(redis).size() == 1


async def test_missing_redis_is_reported(pages: httpx.AsyncClient, own_redis: LocalRedis) -> None:
    own_redis.process.stop()
    response = await pages.get("/actions")
    assert response.status_code == 503
    assert "Redis of the actions does not respond" in response.text


@pytest.mark.measures
@pytest.mark.slow
async def test_pages_are_quick_beside_many_actions(pages: httpx.AsyncClient, redis: Redis) -> None:
    dead, store = DeadActions(redis), ActionStore(redis, time_limit_s=30)
    for first in range(0, FINISHED, 50):
        actions = [Action("geo_updates", f"id-{number}", "{}") for number in range(first, first + 50)]
        starts = await asyncio.gather(*map(store.start, actions))
        await asyncio.gather(*map(store.report_done, actions, starts))
    for number in range(MOST_DEAD):
        await dead.write(msgspec.structs.replace(dead_action(number), traceback=TRACEBACK))
    took_s = []
    for path in ("/actions", "/dead", "/dead?q=owner+77", "/dead?page=200") * 5:
        began_s = time.perf_counter()
        await page(pages, path)
        took_s.append(time.perf_counter() - began_s)
    assert row_of(await page(pages, "/actions"), "geo_updates")[7] == f"{FINISHED:,}"
    assert statistics.quantiles(took_s, n=20)[-1] < MOST_P95_S, took_s
