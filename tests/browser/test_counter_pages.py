"""The pages of the counters and of the dead letters: live without taking the focus or the place from their reader."""

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


async def test_a_card_says_what_a_consumer_does_and_how_far_it_is(page: Page, stage: Stage) -> None:
    await stage.send(numbered(range(3)))
    await page.goto(f"{stage.url}/consumers")
    card = page.locator(".card", has_text="event_counter")
    await expect(card).to_contain_text("Events by type")
    await expect(card.locator("time").first).to_have_text(re.compile(r"^\d+ s ago$"))
    await card.get_by_role("link").click()
    await expect(page).to_have_url(re.compile("/consumers/event_counter/page$"))


async def test_a_table_counts_on_and_leaves_the_focus_where_it_is(page: Page, stage: Stage) -> None:
    await stage.send([event("", "ticks")])
    await page.goto(f"{stage.url}/consumers/event_counter/page")
    count = page.locator("tr", has_text="ticks").locator(".number")
    await expect(count).to_have_text("1")
    heading = page.get_by_role("link", name="Event type")
    await heading.focus()
    await stage.send([event("", "ticks"), event("", "ticks")])
    await expect(count).to_have_text("3")
    await expect(heading).to_be_focused()


async def test_a_table_is_sorted_and_searched_in_place(page: Page, stage: Stage) -> None:
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


async def test_labels_are_text_and_keep_their_writing_direction_to_themselves(page: Page, stage: Stage) -> None:
    await stage.send([event("", "<img src=x onerror=alert(1)>"), event("", RIGHT_TO_LEFT)])
    await page.goto(f"{stage.url}/consumers/event_counter/page")
    await expect(page.get_by_text("<img src=x onerror=alert(1)>", exact=True)).to_be_visible()
    label = page.locator("tbody th bdi").get_by_text(RIGHT_TO_LEFT)
    assert await label.evaluate("element => getComputedStyle(element).unicodeBidi") == "isolate"


async def test_timing_stats_draws_its_histograms_without_inline_style(page: Page, stage: Stage) -> None:
    await stage.send(numbered(range(20)))
    await page.goto(f"{stage.url}/consumers/timing_stats/page")
    drawn = page.locator("svg.histogram")
    await expect(drawn).to_have_count(2)
    await expect(page.locator("figcaption", has_text="klag")).to_contain_text("p99 4 ms")
    assert await drawn.locator(".bar").count() > 0
    assert await page.locator("main [style]").count() == 0


async def test_a_dead_letter_shows_its_reason_and_bytes_as_text(page: Page, stack: LocalStack, stage: Stage) -> None:
    headers = (
        (names.HEADER_DEAD_REASON, b"<b>unknown</b> version"),
        (names.HEADER_DEAD_STAGE, b"decode"),
        (names.HEADER_DEAD_TIME, b"1767225600000"),
        (names.HEADER_DEAD_ATTEMPT, b"1"),
    )
    async with EventProducer(KafkaSettings.from_env(stack.environment())) as producer:
        await producer.produce(names.DEAD_LETTER_TOPIC, [Record(b"\x07<script>\xff", None, headers)])
    await page.goto(f"{stage.url}/dead")
    letter = page.locator(".letter").first
    await expect(letter).to_contain_text("<b>unknown</b> version")
    await expect(letter.locator("pre")).to_contain_text(r"<script>\xff")
    await expect(letter.locator(".tag")).to_have_text("decode")
    await letter.get_by_role("link", name="Live view of this letter").click()
    row = page.locator("[data-rows] .row")
    await expect(row).to_have_count(1)
    await expect(row.locator(".cell-place")).to_have_text("events.dead/0/0")
    await expect(row.locator(".cell-params")).to_have_text("decode: <b>unknown</b> version")
    await expect(page.get_by_role("combobox", name="Topic")).to_have_value("events.dead")
    await row.click()
    await expect(page.locator("[data-detail] pre")).to_contain_text(r"<script>\xff")
    await expect(page.locator("[data-detail]")).to_contain_text("header reason")


async def test_a_page_that_can_not_be_refreshed_says_so(page: Page, stage: Stage) -> None:
    await page.goto(f"{stage.url}/consumers")
    await page.route("**/consumers", lambda route: asyncio.ensure_future(route.abort()))
    await expect(page.locator("[data-refresh-status]")).to_contain_text("Not fresh")
    await page.unroute_all()
    await expect(page.locator("[data-refresh-status]")).to_have_text("")
