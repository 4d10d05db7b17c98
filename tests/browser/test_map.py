"""The map: an SVG without JavaScript, and the same shapes by Leaflet when a reader uses it."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, expect

from services.backbone.pages.gazetteer import Gazetteer
from tests.browser.map_page import HOSTILE, create_app, serving, unused_port
from tests.browser.test_accessibility import findings_of_axe

WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 390, "height": 800}
# Marker positions of both drawings: x and y of the centre of each, relative to the box.
_POSITIONS = """(selector) => {
  const box = document.querySelector("#near").getBoundingClientRect();
  return [...document.querySelectorAll(selector)].filter((each) => each.getClientRects().length).map((each) => {
    const shape = (each.querySelector(".map-halo") ?? each).getBoundingClientRect();
    return [each.dataset.kind, (shape.left + shape.right) / 2 - box.left, (shape.top + shape.bottom) / 2 - box.top];
  });
}"""
_OVERLAPS = """(selector) => {
  const areas = [...document.querySelectorAll(selector)].map((each) => each.getBoundingClientRect())
    .filter((area) => area.width > 0);
  const over = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  return [areas.length, areas.filter((a, i) => areas.some((b, j) => j > i && over(a, b))).length];
}"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = unused_port()
    # Tiles of the same host, because the policy allows no other one.
    with serving(create_app(Gazetteer(), tiles="/tiles/{z}/{x}/{y}"), port) as url:
        yield url


@asynccontextmanager
async def opened(browser: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    """Open a page. Fail for an error, a violation of the policy, or a request to another host."""
    context = await browser.new_context(**{"viewport": WIDE, **options})
    page = await context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))
    page.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
    page.on(
        "request",
        lambda request: errors.append(request.url) if urlsplit(request.url).netloc != urlsplit(url).netloc else None,
    )
    await page.goto(url)
    yield page
    await context.close()
    assert errors == []


async def positions(page: Page, selector: str) -> list[tuple[str, float, float]]:
    return sorted((kind, x, y) for kind, x, y in await page.evaluate(_POSITIONS, selector))


async def take_over(page: Page) -> None:
    """Tap the map between its markers, and wait for Leaflet."""
    await page.locator("#near").tap(position={"x": 20, "y": 120})
    await expect(page.locator("#near.map-is-live")).to_be_visible()


@pytest.mark.parametrize(("viewport", "shown", "hidden"), [(WIDE, "wide", "narrow"), (NARROW, "narrow", "wide")])
async def test_drawing_is_shown_without_javascript(
    browser: Browser, url: str, viewport: dict[str, int], shown: str, hidden: str
) -> None:
    async with opened(browser, url, viewport=viewport, java_script_enabled=False) as page:
        await expect(page.locator(f".map-{shown}")).to_be_visible()
        await expect(page.locator(f".map-{hidden}")).to_be_hidden()
        await expect(page.locator(".map-attribution")).to_have_text("Places: GeoNames, CC BY 4.0")
        await page.locator("summary").click()
        await expect(page.locator(".map-list li")).to_have_count(24)


async def test_leaflet_is_not_requested_before_the_map_is_used(browser: Browser, url: str) -> None:
    async with opened(browser, url) as page:
        await page.wait_for_load_state("networkidle")
        requested = await page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert any(name.endswith("/map.js") for name in requested)
        assert not [name for name in requested if "leaflet" in name]


@pytest.mark.parametrize("viewport", [WIDE, NARROW])
@pytest.mark.parametrize(("query", "number"), [("", 10), ("?narrow=1", 10), ("?fiji=1", 3)])
async def test_leaflet_draws_the_same_markers_at_the_same_positions(
    browser: Browser, url: str, viewport: dict[str, int], query: str, number: int
) -> None:
    async with opened(browser, f"{url}/{query}", viewport=viewport, has_touch=True) as page:
        drawn = await positions(page, ".map-drawing .map-marker")
        bar = await page.locator(".map-scale:visible").bounding_box()
        await take_over(page)
        live = await positions(page, ".map-live .map-icon[data-kind]")
        assert Counter(kind for kind, _, _ in drawn) == Counter(kind for kind, _, _ in live)
        assert len(drawn) == number
        for before, after in zip(drawn, live, strict=True):
            assert after[1:] == pytest.approx(before[1:], abs=1.5), before
        live_bar = await page.locator(".map-live .map-scale").bounding_box()
        assert bar is not None
        assert live_bar is not None
        assert live_bar["width"] == pytest.approx(bar["width"], abs=1)
        assert live_bar["y"] == pytest.approx(bar["y"], abs=3)
        assert await page.locator(".map-live path.map-circle").count() == (1 if number == 3 else 2)


@pytest.mark.parametrize("viewport", [WIDE, NARROW])
async def test_names_do_not_overlap_in_the_font_of_the_browser(
    browser: Browser, url: str, viewport: dict[str, int]
) -> None:
    async with opened(browser, url, viewport=viewport, has_touch=True, reduced_motion="reduce") as page:
        number, overlaps = await page.evaluate(_OVERLAPS, ".map-drawing .map-name, .map-attribution")
        assert (number >= 6, overlaps) == (True, 0)
        await take_over(page)
        for _ in range(3):
            number, overlaps = await page.evaluate(_OVERLAPS, ".map-live .map-name, .map-attribution")
            assert (number >= 4, overlaps) == (True, 0)
            await page.locator(".leaflet-control-zoom-out").click()


async def test_keyboard_moves_the_map_and_leaves_it(browser: Browser, url: str) -> None:
    async with opened(browser, url, reduced_motion="reduce") as page:
        await page.locator("#near").focus()
        await page.keyboard.press("ArrowRight")
        live = page.locator(".map-live")
        await expect(live).to_be_focused()
        before = await positions(page, ".map-live .map-icon[data-kind='self']")
        await page.keyboard.press("ArrowRight")
        after = await positions(page, ".map-live .map-icon[data-kind='self']")
        assert after[0][1] == pytest.approx(before[0][1] - 80, abs=1)
        for _ in range(5):
            await page.keyboard.press("Tab")
        await expect(page.locator("summary")).to_be_focused()


async def test_reduced_motion_has_no_animations(browser: Browser, url: str) -> None:
    for motion, number in (("reduce", 0), ("no-preference", 1)):
        async with opened(browser, url, reduced_motion=motion, has_touch=True) as page:
            await take_over(page)
            assert await page.locator(".map-live.leaflet-fade-anim").count() == number


async def test_mouse_over_the_map_and_an_idle_browser_start_leaflet(browser: Browser, url: str) -> None:
    async with opened(browser, url) as page:
        await page.locator("#near").hover()
        await expect(page.locator("#near.map-is-live")).to_be_visible()
    async with opened(browser, f"{url}/?idle=1") as page:
        await expect(page.locator("#near.map-is-live")).to_be_visible()


async def test_drawing_stays_when_leaflet_does_not_load(browser: Browser, url: str) -> None:
    async with opened(browser, f"{url}/?broken=1", has_touch=True) as page:
        async with page.expect_console_message(lambda message: "stays a drawing" in message.text):
            await page.locator("#near").tap(position={"x": 20, "y": 120})
        await expect(page.locator(".map-wide")).to_be_visible()
        assert await page.locator(".map-live").count() == 0


async def test_cluster_opens_when_it_is_clicked(browser: Browser, url: str) -> None:
    async with opened(browser, url, has_touch=True, reduced_motion="reduce") as page:
        await take_over(page)
        await page.locator(".map-icon[data-kind='cluster']:has-text('14')").tap()
        await expect(page.locator(".map-icon[data-kind='cluster']:has-text('14')")).to_have_count(0)
        assert await page.locator(".map-icon[data-kind='offer']").count() > 6


async def test_markers_are_links_in_both_drawings(browser: Browser, url: str) -> None:
    async with opened(browser, url, has_touch=True) as page:
        await page.locator(".map-wide a[href='#match']").tap()
        await expect(page).to_have_url(f"{url}/#match")
        assert await page.locator(".map-is-live").count() == 0
        await take_over(page)
        link = page.locator(".map-live a[href='#selected']")
        area = await link.bounding_box()
        assert area is not None
        assert (area["width"], area["height"]) == (44, 44)
        await link.tap()
        await expect(page).to_have_url(f"{url}/#selected")


async def test_hostile_title_stays_text(browser: Browser, url: str) -> None:
    async with opened(browser, url, has_touch=True) as page:
        await take_over(page)
        titles = await page.locator(".map-live .map-icon[data-kind='offer']").evaluate_all(
            "all => all.map(e => e.title)"
        )
        assert titles.count(HOSTILE) == 4
        assert await page.locator("#near img, #near script").count() == 0
        assert await page.locator(".map-list li", has_text=HOSTILE).count() == 5


async def test_tiles_are_loaded_only_with_a_setting_and_their_attribution(browser: Browser, url: str) -> None:
    async with opened(browser, f"{url}/?tiled=1", has_touch=True) as page:
        await take_over(page)
        await expect(page.locator("img.leaflet-tile-loaded").first).to_be_visible()
        await expect(page.locator(".map-attribution")).to_have_text("Places: GeoNames, CC BY 4.0 · Example tiles")


@pytest.mark.parametrize("viewport", [WIDE, NARROW])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_map_is_accessible(
    browser: Browser, url: str, axe_source: str, scheme: str, viewport: dict[str, int]
) -> None:
    # axe is not part of the page, so the policy does not apply to it.
    async with opened(browser, url, viewport=viewport, color_scheme=scheme, has_touch=True, bypass_csp=True) as page:
        assert await findings_of_axe(page, axe_source) == []
        await take_over(page)
        assert await findings_of_axe(page, axe_source) == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
