"""The live page on screens and paper: its weight, the size of its controls, narrow and zoomed windows, and print."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.live_page import open_filters, open_live, wait_for_sum
from tests.browser.stage import Stage, numbered

MOST_REQUESTS, MOST_BYTES = 8, 30_000
SMALL = """
[...document.querySelectorAll("a, button, input, select, summary, label:has(input)")]
  .filter(each => each.checkVisibility() && !["checkbox", "radio"].includes(each.type) && !each.closest(".skip"))
  .map(each => [each.outerHTML.slice(0, 80), each.getBoundingClientRect()])
  .filter(([, box]) => box.height > 0 && (box.height < 44 || box.width < 44))
  .map(([text]) => text)
"""
SIDEWAYS = """
["html", "main", "[data-filters]", "dialog[open]"].filter(name => {
  const element = document.querySelector(name);
  return element && element.scrollWidth > element.clientWidth;
})
"""


async def nothing(_: Page) -> None:
    """Leave the page as it opens."""


async def show_more(page: Page) -> None:
    await page.get_by_text("More").click()


async def show_views(page: Page) -> None:
    await page.keyboard.press("v")


async def show_event(page: Page) -> None:
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-detail] dl").first).to_be_visible()


STATES = (nothing, show_more, open_filters, show_views, show_event)


async def test_page_needs_few_requests_and_bytes(browser: Browser, stage: Stage) -> None:
    page = await (await browser.new_context()).new_page()
    devtools = await page.context.new_cdp_session(page)
    requests: list[str] = []
    sizes: list[float] = []
    devtools.on("Network.requestWillBeSent", lambda sent: requests.append(sent["request"]["url"]))
    devtools.on("Network.webSocketCreated", lambda socket: requests.append(socket["url"]))
    devtools.on("Network.loadingFinished", lambda loaded: sizes.append(loaded["encodedDataLength"]))
    await devtools.send("Network.enable")
    await open_live(page, stage.url)
    await page.wait_for_load_state("networkidle")
    assert any("icon" in url for url in requests)
    assert any(url.startswith("ws:") for url in requests)
    print(f"{len(requests)} requests, {sum(sizes):.0f} bytes")  # noqa: T201 - this test reports its measurement
    assert len(requests) <= MOST_REQUESTS
    assert sum(sizes) <= MOST_BYTES


@pytest.mark.parametrize("show", STATES)
async def test_controls_are_large_enough_for_fingers(
    browser: Browser, stage: Stage, show: Callable[[Page], Awaitable[None]]
) -> None:
    page = await browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    await open_live(page, stage.url)
    await stage.send(numbered(range(3)), key=b"k")
    await wait_for_sum(page, "shown", 3)
    await show(page)
    assert await page.evaluate("matchMedia('(pointer: coarse)').matches")
    assert await page.evaluate(SMALL) == []


@pytest.mark.parametrize("size", [(390, 844), (640, 400)], ids=["phone", "1280 at 200 %"])
@pytest.mark.parametrize("show", STATES)
async def test_page_does_not_scroll_sideways(
    browser: Browser, stage: Stage, size: tuple[int, int], show: Callable[[Page], Awaitable[None]]
) -> None:
    page = await browser.new_page(viewport={"width": size[0], "height": size[1]})
    await open_live(page, stage.url)
    await stage.send(numbered(range(3)), key=b"k")
    await wait_for_sum(page, "shown", 3)
    await show(page)
    assert await page.evaluate(SIDEWAYS) == []


async def test_commands_are_in_one_row_on_a_phone(browser: Browser, stage: Stage) -> None:
    page = await browser.new_page(viewport={"width": 390, "height": 844})
    await open_live(page, stage.url)
    boxes = await page.locator(".control-bar").evaluate(
        "bar => [...bar.querySelectorAll('.state, button, summary')].filter(each => each.checkVisibility())"
        ".map(each => { const box = each.getBoundingClientRect(); return (box.top + box.bottom) / 2; })"
    )
    assert len(boxes) == 3, "the state, Pause and More"
    assert max(boxes) - min(boxes) < 2


async def test_print_shows_the_rows_in_view_without_controls(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await stage.send(numbered(range(2_000)), key=b"k")
    await wait_for_sum(page, "shown", 2_000)
    await page.emulate_media(media="print")
    await expect(page.locator("[data-pause]")).to_be_hidden()
    await expect(page.get_by_text("n=1999", exact=True)).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollHeight") < 4_000


async def test_few_new_rows_fade_in_and_many_do_not(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await stage.send(numbered(range(1_000)), key=b"k")
    await wait_for_sum(page, "shown", 1_000)
    assert await page.locator(".row.fresh").count() == 0
    await page.wait_for_timeout(1_500)  # a fade ends after 1.2 s
    await stage.send(numbered([1]), key=b"k")
    await expect(page.locator(".row.fresh")).to_have_count(1)
    name: Any = "getComputedStyle(document.querySelector('.row.fresh'), '::before').animationName"
    assert await page.evaluate(name) == "fresh"
    await page.emulate_media(reduced_motion="reduce")
    assert await page.evaluate(name) == "none"


async def test_line_of_rates_fills_its_width_and_names_its_time(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await expect(page.locator("[data-span]")).to_have_text("3 s")
    points = (await page.locator("[data-spark-line]").get_attribute("points") or "").split()
    assert [points[0].split(",")[0], points[-1].split(",")[0]] == ["0.0", "240.0"]
