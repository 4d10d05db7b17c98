"""Saved views: names for queries of the live page, in the storage of the browser."""

import json
import re

from playwright.async_api import Page, expect

from tests.browser.live_page import open_live
from tests.browser.stage import Stage

KEY = "push-kafidx-views"
HOSTILE = "<img src=x onerror='window.hit=1'>\u202e"
STORED = f"JSON.parse(localStorage.getItem('{KEY}'))"


async def save(page: Page, name: str) -> None:
    await page.get_by_label("Name of this view").fill(name)
    await page.get_by_role("button", name="Save view").click()


async def test_view_is_saved_opened_and_removed(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url, "?type=offr&gid=kafidx-aaaaa-1")
    await page.keyboard.press("v")
    await save(page, "Offers")
    await expect(page.get_by_role("status").get_by_text("Saved: Offers")).to_be_visible()
    assert await page.evaluate(STORED) == [{"name": "Offers", "query": "type=offr"}]
    await open_live(page, stage.url)
    await page.keyboard.press("v")
    await page.get_by_role("link", name="Offers").click()
    await expect(page).to_have_url(re.compile(r"/kafidx\?type=offr$"))
    await expect(page.get_by_role("textbox", name="Types")).to_have_value("offr")
    await page.go_back()
    await expect(page.get_by_role("textbox", name="Types")).to_have_value("")
    await page.keyboard.press("v")
    await page.get_by_role("button", name="Remove Offers").click()
    await expect(page.get_by_role("link", name="Offers")).to_have_count(0)
    assert await page.evaluate(STORED) == []


async def test_examples_are_shown_until_a_view_is_saved(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await page.keyboard.press("v")
    await expect(page.locator("[data-view-list] li")).to_have_text(["Dead letters", "Without bots"])
    await page.get_by_role("link", name="Without bots").click()
    await expect(page).to_have_url(re.compile(r"\?bot=no$"))
    await page.keyboard.press("v")
    await save(page, "Mine")
    await expect(page.locator("[data-view-list] a")).to_have_text(["Mine"])


async def test_hostile_name_is_shown_as_text(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await page.keyboard.press("v")
    await save(page, HOSTILE)
    await expect(page.locator("[data-view-list] bdi")).to_have_text(HOSTILE)
    assert await page.locator("[data-view-list] img").count() == 0
    assert await page.evaluate("window.hit") is None


async def test_at_most_50_views_are_saved_and_a_name_is_saved_once(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    views = [{"name": f"view {number}", "query": ""} for number in range(50)]
    await page.evaluate(f"localStorage.setItem('{KEY}', {json.dumps(json.dumps(views))})")
    await page.keyboard.press("v")
    await save(page, "one more")
    await expect(page.locator("[data-view-status]")).to_have_text("50 views are saved. Remove one first.")
    await save(page, "view 7")
    await expect(page.locator("[data-view-status]")).to_have_text("Saved: view 7")
    await expect(page.locator("[data-view-list] li")).to_have_count(50)


async def test_stored_text_of_another_form_is_ignored(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    for stored in ("{", "null", '{"name": 1}', "[null]", '[{"name": 1, "query": "x"}]'):
        await page.evaluate(f"localStorage.setItem('{KEY}', {json.dumps(stored)})")
        await page.keyboard.press("v")
        await expect(page.locator("[data-view-list] li")).to_have_text(["Dead letters", "Without bots"])
        await page.keyboard.press("Escape")


async def test_disabled_storage_is_reported(page: Page, stage: Stage) -> None:
    await page.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }});"
    )
    await open_live(page, stage.url)
    await page.keyboard.press("v")
    await expect(page.locator("[data-views-hint]")).to_contain_text("stores no data for this page")
    await expect(page.get_by_role("button", name="Save view")).to_be_disabled()
    await page.get_by_role("link", name="Without bots").click()
    await expect(page).to_have_url(re.compile(r"\?bot=no$"))


async def test_view_is_kept_when_the_storage_has_an_invalid_entry_beside_it(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    stored = json.dumps([None, 1, {"name": "Offers", "query": "type=offr"}])
    await page.evaluate("([key, text]) => localStorage.setItem(key, text)", [KEY, stored])
    await page.keyboard.press("v")
    await expect(page.locator("[data-view-list] a")).to_have_text(["Offers"])
