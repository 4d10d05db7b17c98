"""The pages of the counters and of the dead letters, which refresh without moving focus or scroll position."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from services.backbone import names
from services.backbone.kafka import EventProducer, Record
from services.backbone.settings import KafkaSettings
from tests.browser.stage import Stage, event, numbered

RIGHT_TO_LEFT = "\u202egnp"


@pytest.fixture(scope="module")
def stack(kafka_kind: KafkaKind) -> Iterator[LocalStack]:
    with LocalStack(kafka=kafka_kind) as stack:
        for name in ("event_counter", "timing_stats"):
            stack.start_service("consumers", name)
        yield stack


async def test_card_shows_the_description_and_the_progress_of_a_consumer(page: Page, stage: Stage) -> None:
    await stage.send(numbered(range(3)))
    await page.goto(f"{stage.url}/consumers")
    card = page.locator(".card", has_text="event_counter")
    await expect(card).to_contain_text("Events by type")
    await expect(card.locator("time").first).to_have_text(re.compile(r"^\d+ s ago$"))
    await card.get_by_role("link").click()
    await expect(page).to_have_url(re.compile("/consumers/event_counter/page$"))


async def test_table_is_refreshed_without_moving_the_focus(page: Page, stage: Stage) -> None:
    await stage.send([event("", "ticks")])
    await page.goto(f"{stage.url}/consumers/event_counter/page")
    count = page.locator("tr", has_text="ticks").locator(".number")
    await expect(count).to_have_text("1")
    heading = page.get_by_role("link", name="Event type")
    await heading.focus()
    await stage.send([event("", "ticks"), event("", "ticks")])
    await expect(count).to_have_text("3")
    await expect(heading).to_be_focused()


async def test_table_is_sorted_and_searched_without_a_reload(page: Page, stage: Stage) -> None:
    await stage.send([event("", name) for name in ("needle-a", "needle-b", "needle-b", "other")])
    await page.goto(f"{stage.url}/consumers/event_counter/page")
    labels = page.locator("tbody th")
    search = page.get_by_role("searchbox")
    await search.fill("needle")
    await expect(labels).to_have_text(["needle-b", "needle-a"])
    await expect(search).to_be_focused()
    await page.get_by_role("link", name="Event type").click()
    await expect(labels).to_have_text(["needle-a", "needle-b"])
    await expect(page.locator("th[aria-sort=ascending]")).to_contain_text("Event type")
    await expect(page).to_have_url(re.compile("q=needle"))


async def test_labels_are_text_with_an_isolated_writing_direction(page: Page, stage: Stage) -> None:
    await stage.send([event("", "<img src=x onerror=alert(1)>"), event("", RIGHT_TO_LEFT)])
    await page.goto(f"{stage.url}/consumers/event_counter/page")
    await expect(page.get_by_text("<img src=x onerror=alert(1)>", exact=True)).to_be_visible()
    label = page.locator("tbody th bdi").get_by_text(RIGHT_TO_LEFT)
    assert await label.evaluate("element => getComputedStyle(element).unicodeBidi") == "isolate"


async def test_timing_stats_draws_histograms_without_inline_style(page: Page, stage: Stage) -> None:
    await stage.send(numbered(range(20)))
    await page.goto(f"{stage.url}/consumers/timing_stats/page")
    drawn = page.locator("svg.histogram")
    await expect(drawn).to_have_count(2)
    await expect(page.locator("figcaption", has_text="klag")).to_contain_text("p99 4 ms")
    assert await drawn.locator(".bar").count() > 0
    assert await page.locator("main [style]").count() == 0


async def test_dead_letter_shows_its_reason_and_bytes_as_text(page: Page, stack: LocalStack, stage: Stage) -> None:
    headers = (
        (names.HEADER_DEAD_REASON, b"<b>unknown</b> version"),
        (names.HEADER_DEAD_STAGE, b"decode"),
        (names.HEADER_DEAD_TIME, b"1767225600000"),
        (names.HEADER_DEAD_ATTEMPT, b"1"),
    )
    async with EventProducer(KafkaSettings.from_env(stack.environment())) as producer:
        await producer.produce(names.DEAD_LETTER_TOPIC, [Record(b"\x07<script>\xff", None, headers)])
    await page.goto(f"{stage.url}/dead")
    dead_letter = page.locator(".letter").first
    await expect(dead_letter).to_contain_text("<b>unknown</b> version")
    await expect(dead_letter.locator("pre")).to_contain_text(r"<script>\xff")
    await expect(dead_letter.locator(".tag")).to_have_text("decode")
    await dead_letter.get_by_role("link", name="Show in the live view").click()
    row = page.locator("[data-rows] .row")
    await expect(row).to_have_count(1)
    await expect(row.locator(".cell-place")).to_have_text("events.dead/0/0")
    await expect(row.locator(".cell-params")).to_have_text("decode: <b>unknown</b> version")
    await expect(page.get_by_role("combobox", name="Topic")).to_have_value("events.dead")
    await row.click()
    await expect(page.locator("[data-detail] pre")).to_contain_text(r"<script>\xff")
    await expect(page.locator("[data-detail]")).to_contain_text("header reason")


async def test_page_shows_that_a_refresh_has_failed(page: Page, stage: Stage) -> None:
    await page.goto(f"{stage.url}/consumers")
    await page.route("**/consumers", lambda route: asyncio.ensure_future(route.abort()))
    await expect(page.locator("[data-refresh-status]")).to_contain_text("Not updated")
    await page.unroute_all()
    await expect(page.locator("[data-refresh-status]")).to_have_text("")
