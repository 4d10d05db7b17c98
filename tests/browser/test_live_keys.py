"""The live page by keyboard."""

import re

from playwright.async_api import Page, expect

from tests.browser.live_page import open_filters, open_live, wait_for_sum
from tests.browser.stage import Stage, numbered

SELECTED = ".row[aria-selected=true] .cell-params"


async def test_row_is_opened_and_closed_by_keyboard(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await stage.send(numbered(range(5)), key=b"k")
    await wait_for_sum(page, "shown", 5)
    await page.keyboard.press("l")
    for key in ("Home", "ArrowDown", "ArrowDown", "Enter"):
        await page.keyboard.press(key)
    detail = page.locator("[data-detail]")
    await expect(detail.locator("dl").first).to_contain_text("n2")
    await expect(detail.locator("pre")).to_contain_text("klag=4")
    await page.keyboard.press("Escape")
    await expect(detail).to_be_hidden()
    await expect(page.locator("[data-grid]")).to_be_focused()


async def test_space_bar_ticks_a_focused_checkbox_and_pauses_elsewhere(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await open_filters(page)
    phone, pause = page.get_by_label("phone"), page.locator("[data-pause]")
    await phone.focus()
    await page.keyboard.press("Space")
    await expect(phone).to_be_checked()
    await expect(pause).to_have_attribute("aria-pressed", "false")
    await page.keyboard.press("l")
    await page.keyboard.press("Space")
    await expect(pause).to_have_attribute("aria-pressed", "true")


async def test_skip_link_does_not_change_the_view(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await stage.send(numbered(range(5)), key=b"k")
    await wait_for_sum(page, "shown", 5)
    await page.locator(".skip").focus()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("#main$"))
    await stage.send(numbered(range(3)), key=b"k")
    await wait_for_sum(page, "shown", 8)


async def test_j_and_k_move_down_and_up_from_the_first_row_in_sight(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await stage.send(numbered(range(5)), key=b"k")
    await wait_for_sum(page, "shown", 5)
    for key, shown in (("j", "n=4"), ("j", "n=3"), ("j", "n=2"), ("k", "n=3"), ("ArrowDown", "n=2")):
        await page.keyboard.press(key)
        await expect(page.locator(SELECTED)).to_have_text(shown)
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-detail] dl").first).to_contain_text("n2")
    await page.keyboard.press("Escape")
    await page.keyboard.press("j")
    await expect(page.locator(SELECTED)).to_have_text("n=1")


async def test_single_keys_do_nothing_when_they_are_switched_off_or_typed(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    pause = page.locator("[data-pause]")
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox", name="Text")).to_be_focused()
    await page.keyboard.type("pj")
    await expect(page.get_by_role("searchbox", name="Text")).to_have_value("pj")
    await expect(pause).to_have_text("Pause")
    await page.keyboard.press("Tab")
    await page.locator("[data-grid]").focus()
    await page.keyboard.press("?")
    await page.get_by_label("Single-key shortcuts").uncheck()
    await page.keyboard.press("Escape")
    await page.keyboard.press("p")
    await expect(pause).to_have_text("Pause")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_be_hidden()


async def test_menu_closes_with_escape_and_the_event_stays_open(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await stage.send(numbered([1]), key=b"k")
    await wait_for_sum(page, "shown", 1)
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.get_by_text("More").click()
    restart = page.get_by_role("button", name="Start from the first event")
    await expect(restart).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(restart).to_be_hidden()
    await expect(page.locator("[data-detail]")).to_be_visible()
