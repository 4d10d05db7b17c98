"""The pages of the counters and of the dead letters, which refresh without moving focus or scroll position."""

import asyncio
import re
import time
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Page, expect
from redis.asyncio import Redis

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from services.backbone import names
from services.backbone.counters import CounterStore, Description
from services.backbone.kafka import EventProducer, Record
from services.backbone.settings import KafkaSettings
from tests.browser.stage import Stage, event, numbered

PATHS = (
    "/",
    "/consumers",
    "/consumers/event_counter/page",
    "/consumers/event_counter/page?q=nothing+has+this+name",
    "/consumers/timing_stats/page",
    "/dead",
    "/no-such-page",
)
NEXT_REFRESH = "new Promise(done => document.addEventListener('push:refreshed', done, {once: true}))"
# A link that covers its card is as large as the card. Links in sentences have no minimum (WCAG 2.2, 2.5.8).
SMALL_CONTROLS = """
[...document.querySelectorAll("a, button, input, select, summary")]
  .filter(element => element.checkVisibility() && !element.closest(".skip, dialog"))
  .map(element => element.closest(".card") && element.closest("h2") ? element.closest(".card") : element)
  .filter(element => element.getBoundingClientRect().height < 44)
  .map(element => element.outerHTML.slice(0, 80))
"""
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
    assert await drawn.locator(".column").count() > 0
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
    await expect(dead_letter.locator(".tag")).to_have_text("failed at decode")
    await dead_letter.get_by_role("link", name="Show in the live view").click()
    row = page.locator("[data-rows] .row")
    await expect(row).to_have_count(1)
    await expect(row.locator(".cell-place")).to_have_text("events.dead/0/0")
    await expect(row.locator(".cell-params")).to_have_text("decode: <b>unknown</b> version")
    await expect(page.locator("#f-topic")).to_have_value("events.dead")
    await row.click()
    await expect(page.locator("[data-detail] pre")).to_contain_text(r"<script>\xff")
    await expect(page.locator("[data-detail]")).to_contain_text("header reason")


async def test_page_shows_that_a_refresh_has_failed(page: Page, stage: Stage) -> None:
    await page.goto(f"{stage.url}/consumers")
    await page.route("**/consumers", lambda route: asyncio.ensure_future(route.abort()))
    status = page.locator("[data-refresh-status]")
    await expect(status).to_have_text(
        re.compile(r"^Not updated: the server does not respond \(since \d\d:\d\d:\d\d UTC\)$")
    )
    await expect(status).to_have_class("bad")
    await page.unroute_all()
    problem = "<p data-problem> Redis does not respond. Events are not lost.</p>"
    await page.route("**/consumers", lambda route: asyncio.ensure_future(route.fulfill(status=503, body=problem)))
    await expect(status).to_contain_text("Not updated: Redis does not respond (since")
    await page.unroute_all()
    await expect(status).to_have_text("")


async def register(stack: LocalStack, name: str, *, last_event_ms: int) -> None:
    """Register a consumer that has counted one event of the topic and no position, so that it has a lag."""
    async with Redis.from_url(stack.environment()["COUNTERS_REDIS_URL"], decode_responses=True) as redis:
        await CounterStore(redis).describe(Description(name, "A consumer of a test", "Label"))
        await redis.hset(names.progress_key(name), mapping={"events": 1, "last_ms": last_event_ms})


async def test_lag_is_a_warning_only_for_a_stale_consumer(page: Page, stack: LocalStack, stage: Stage) -> None:
    for _ in range(2):  # Tansu reports the end of a topic only after the second batch
        await stage.send(numbered(range(20)))
    await register(stack, "with_lag", last_event_ms=time.time_ns() // 1_000_000)
    await register(stack, "without_progress", last_event_ms=1)
    await page.goto(f"{stage.url}/consumers")
    healthy = page.locator(".card", has_text="with_lag")
    await expect(healthy.locator(".facts div", has_text="lag")).to_have_text(re.compile(r"^lag [1-9]\d*$"))
    await expect(healthy.locator(".warn, .tag-warn")).to_have_count(0)
    stale = page.locator(".card", has_text="without_progress")
    await expect(stale.locator(".facts .warn")).to_have_count(1)
    await expect(stale.locator(".tag-warn")).to_have_text("stale")


async def test_search_without_a_result_offers_all_rows(page: Page, stage: Stage) -> None:
    await stage.send([event("", "present")])
    await page.goto(f"{stage.url}/consumers/event_counter/page?q=absent")
    await expect(page.locator(".empty-state")).to_contain_text("No event type contains “absent”.")
    await page.get_by_role("link", name="Show all rows").click()
    await expect(page.locator("tbody th", has_text="present")).to_have_count(1)
    await expect(page.get_by_role("searchbox")).to_have_value("")


async def test_pressing_next_repeatedly_stays_on_the_same_link(page: Page, stage: Stage) -> None:
    await stage.send([event("", f"paged-{number}") for number in range(250)])
    await page.goto(f"{stage.url}/consumers/event_counter/page?q=paged")
    await expect(page.locator(".pager")).to_contain_text("Page 1 of 3")
    following = page.get_by_role("link", name="Next")
    await following.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".pager")).to_contain_text("Page 2 of 3")
    await expect(following).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator(".pager")).to_contain_text("Page 3 of 3")
    await expect(following).to_have_attribute("aria-disabled", "true")


async def test_refresh_keeps_selection_scroll_position_and_open_details(page: Page, stage: Stage) -> None:
    await page.set_viewport_size({"width": 640, "height": 400})
    await stage.send(numbered(range(3)))
    await page.goto(f"{stage.url}/consumers")
    card = page.locator(".card", has_text="event_counter")
    counted = card.locator(".facts div", has_text="counted")
    before = await counted.inner_text()
    await page.get_by_text("What the numbers mean").click()
    await card.locator("p").evaluate("element => getSelection().selectAllChildren(element)")
    await page.evaluate("scrollTo(0, 120)")
    await stage.send(numbered(range(3)))
    await expect(counted).not_to_have_text(before, use_inner_text=True)
    assert "Events by type" in await page.evaluate("getSelection().toString()")
    assert await page.evaluate("scrollY") == 120
    assert await page.locator(".explanation").get_attribute("open") is not None


async def test_keys_move_the_focus_and_can_be_switched_off(page: Page, stage: Stage) -> None:
    await stage.send(numbered(range(3)))
    await page.goto(f"{stage.url}/consumers")
    await expect(page.get_by_role("button", name="Keyboard shortcuts")).to_be_visible()
    links = page.locator(".card h2 a")
    for key, index in (("j", 0), ("j", 1), ("k", 0)):
        await page.keyboard.press(key)
        await expect(links.nth(index)).to_be_focused()
    await page.evaluate(NEXT_REFRESH)
    await expect(links.nth(0)).to_be_focused()
    await page.keyboard.press("Enter")
    search = page.get_by_role("searchbox")
    help_button = page.get_by_role("button", name="Keyboard shortcuts")  # visible when the script has run
    await expect(help_button).to_be_visible()
    await page.keyboard.press("/")
    await expect(search).to_be_focused()
    await page.keyboard.type("j/k?")
    await expect(search).to_have_value("j/k?")
    await help_button.click()
    await page.get_by_role("checkbox").uncheck()
    await page.keyboard.press("Escape")
    await page.reload()
    await expect(help_button).to_be_visible()
    await page.keyboard.press("?")
    await page.keyboard.press("/")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(search).not_to_be_focused()


async def test_unknown_page_offers_the_other_pages(page: Page, stage: Stage) -> None:
    await page.goto(f"{stage.url}/no-such-page")
    await expect(page.get_by_role("heading")).to_have_text("There is no such page")
    offered = await page.locator(".ways-out a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert offered == ["/", "/kafidx", "/consumers", "/dead", "/find"]


async def test_start_page_finds_events_by_text(page: Page, stage: Stage) -> None:
    await stage.send([event("q=needle-of-the-start-page"), event("q=hay")], key=b"k")
    await page.goto(stage.url)
    await expect(page.get_by_role("button", name="Keyboard shortcuts")).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("needle-of-the-start-page")
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-rows] .row")).to_have_count(1)


async def test_controls_are_large_enough_for_fingers(browser: Browser, stage: Stage) -> None:
    page = await browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for path in PATHS:
        await page.goto(stage.url + path)
        assert await page.evaluate("matchMedia('(pointer: coarse)').matches")
        assert await page.evaluate(SMALL_CONTROLS) == [], path
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"


async def test_pages_fit_at_200_percent_and_print_without_controls(page: Page, stage: Stage) -> None:
    await page.set_viewport_size({"width": 640, "height": 400})  # 1280 x 800 at a zoom of 200 %
    controls = page.locator("button, input, select, summary, .button, .top nav")
    for path in PATHS:
        await page.emulate_media(media="screen")
        await page.goto(stage.url + path)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"
        assert await controls.filter(visible=True).count() > 0
        await page.emulate_media(media="print")
        assert await controls.filter(visible=True).count() == 0, path


async def test_long_words_of_a_search_do_not_scroll_the_page_sideways(page: Page, stage: Stage) -> None:
    await page.set_viewport_size({"width": 320, "height": 256})
    await page.goto(f"{stage.url}/find?q=curl http://h/{'W' * 300}?a={'W' * 300}")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
