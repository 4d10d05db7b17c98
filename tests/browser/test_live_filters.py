"""The filters of the live page, and what it shows instead of an empty list."""

import re

from playwright.async_api import Browser, Page, expect

from tests.browser.live_page import open_filters, open_live, wait_for_sum
from tests.browser.stage import Stage, event, numbered


async def test_filters_are_written_to_the_url_and_restored_from_it(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await open_filters(page)
    await page.get_by_role("textbox", name="Types").fill("offr, srch")
    await page.get_by_label("phone").check()
    await page.get_by_role("button", name="Add condition").click()
    await page.locator("[name=where]").fill("klag > 3")
    await page.get_by_role("button", name="Apply").click()
    await expect(page).to_have_url(re.compile(r"\?type=offr,srch&device=phone&where=klag\+%3E\+3$"))
    await expect(page.locator(".state")).to_have_attribute("data-state", "open")
    await stage.send([event("n=1"), event("n=2", "offr"), event("n=3", "srch")])
    await wait_for_sum(page, "shown", 2)
    await page.reload()
    await expect(page.get_by_role("textbox", name="Types")).to_have_value("offr,srch")
    await expect(page.get_by_label("phone")).to_be_checked()
    await expect(page.locator("[name=where]")).to_have_value("klag > 3")
    await page.go_back()
    await expect(page.get_by_role("textbox", name="Types")).to_have_value("")


async def test_invalid_condition_shows_an_error_beside_its_field(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await open_filters(page)
    await page.get_by_role("button", name="Add condition").click()
    await page.locator("[name=where]").fill("klag bad 3")
    await page.get_by_role("button", name="Apply").click()
    for _ in ("from the socket", "from the page"):
        await expect(page.locator("#e-where")).to_contain_text("character")
        await expect(page.locator("[name=where]")).to_have_attribute("aria-invalid", "true")
        await expect(page.locator(".state")).to_have_text("Refused")
        await expect(page.locator("[data-pause]")).to_be_hidden()
        await page.reload()


async def test_panel_is_closed_without_filters_and_open_with_some(page: Page, stage: Stage) -> None:
    for query, is_open in (("", False), ("?from=last:5", False), ("?type=offr", True)):
        await open_live(page, stage.url, query)
        await expect(page.locator("[data-filters]")).to_be_visible(visible=is_open)
        await expect(page.locator("[data-filter-toggle]")).to_have_attribute("aria-expanded", str(is_open).lower())


async def test_apply_is_in_view_on_a_phone_with_many_conditions(browser: Browser, stage: Stage) -> None:
    page = await browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    await open_live(page, stage.url)
    await open_filters(page)
    for _ in range(8):
        await page.get_by_role("button", name="Add condition").click()
    await page.locator("[data-filters]").evaluate("form => form.scrollTop = 0")
    apply = page.get_by_role("button", name="Apply")
    await expect(apply).to_be_in_viewport(ratio=1)
    # Another element may cover it.
    await apply.click()
    await expect(page.locator("[name=where]")).to_have_count(0)


async def test_empty_list_offers_the_last_events(page: Page, stage: Stage) -> None:
    await stage.send(numbered(range(3), "earlier"))
    await open_live(page, stage.url)
    await expect(page.locator("[data-empty]")).to_contain_text("No events yet")
    await page.get_by_role("link", name="Show the last 100").click()
    await expect(page).to_have_url(re.compile(r"\?from=last:100$"))
    await expect(page.locator("[data-rows] .row").first).to_be_visible()
    await expect(page.locator("[data-empty]")).to_be_hidden()


async def test_empty_list_names_its_filters_and_shows_all(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url, "?type=rare,rarer&bot=no&where=klag+%3E+3")
    empty = page.locator("[data-empty]")
    await expect(empty).to_contain_text("type rare or rarer · without bots · klag > 3")
    await empty.get_by_role("link", name="Show all").click()
    await expect(page).to_have_url(re.compile("/kafidx$"))
    await expect(empty).to_contain_text("No events yet")
