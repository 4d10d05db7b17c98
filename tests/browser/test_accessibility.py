"""axe finds nothing on any page: both themes, wide, narrow and zoomed screens, and forced colours."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from services.backbone import names
from services.backbone.kafka import EventProducer, Record
from services.backbone.settings import KafkaSettings
from tests.browser.live_page import open_live, wait_for_sum
from tests.browser.stage import Stage, numbered

PATHS = (
    "/",
    "/consumers",
    "/consumers/event_counter/page",
    "/consumers/event_counter/page?q=nothing+has+this+name",
    "/consumers/timing_stats/page",
    "/dead",
    "/find",
    "/find?q=curl+http://t/x/view%3Fn%3D7",
    "/find?q=nothing-has-this-id",
    "/find?q=curl+",
    "/no-such-page",
    "/styleguide",
    "/styleguide?density=comfortable",
)
# The viewport of 640 x 400 is a window of 1280 x 800 at a zoom of 200 %.
SCREENS = {"wide": (1280, 800), "narrow": (390, 844), "zoomed": (640, 400)}


@pytest.fixture(scope="module")
def stack(kafka_kind: KafkaKind) -> Iterator[LocalStack]:
    """Start a stack with consumers, so that every page has content."""
    with LocalStack(kafka=kafka_kind) as stack:
        for name in ("event_counter", "timing_stats"):
            stack.start_service("consumers", name)
        yield stack


@pytest.fixture
async def filled(stack: LocalStack, stage: Stage) -> Stage:
    """The stage with some events and dead letters."""
    await stage.send(numbered(range(40)))
    headers = (
        (names.HEADER_DEAD_REASON, b"unknown entry version"),
        (names.HEADER_DEAD_STAGE, b"decode"),
        (names.HEADER_DEAD_TIME, b"1767225600000"),
        (names.HEADER_DEAD_ATTEMPT, b"1"),
    )
    async with EventProducer(KafkaSettings.from_env(stack.environment())) as producer:
        # The first one needs a scrollable box, which the keyboard must reach. Tansu shows it only after the second.
        await producer.produce(names.DEAD_LETTER_TOPIC, [Record(b"some bytes " * 500, None, headers)])
        await producer.produce(names.DEAD_LETTER_TOPIC, [Record(b"\x07", None, headers)])
    return stage


def viewport(screen: str) -> ViewportSize:
    width, height = SCREENS[screen]
    return {"width": width, "height": height}


async def findings_of_axe(page: Page, axe_source: str) -> list[tuple[str, Any]]:
    await page.evaluate(axe_source)
    findings = await page.evaluate("axe.run({resultTypes: ['violations']})")
    return [(violation["id"], [node["target"] for node in violation["nodes"]]) for violation in findings["violations"]]


async def choose_theme(page: Page, name: str) -> None:
    await page.locator("[data-theme-menu] summary").click()
    await page.get_by_role("button", name=name).click()


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_accessible(
    browser: Browser, filled: Stage, axe_source: str, scheme: Literal["light", "dark"], screen: str
) -> None:
    page = await browser.new_page(color_scheme=scheme, viewport=viewport(screen))
    await page.goto(f"{filled.url}/consumers/event_counter/page")
    await expect(page.locator("tbody th").first).to_have_text("view")
    await page.goto(f"{filled.url}/consumers/timing_stats/page")
    await expect(page.locator("svg.histogram")).to_have_count(2)
    await page.goto(f"{filled.url}/dead")
    await expect(page.locator(".letter pre").first).to_be_visible()
    for path in PATHS:
        await page.goto(filled.url + path)
        assert await findings_of_axe(page, axe_source) == [], path
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_live_page_is_accessible_in_every_state(
    browser: Browser, stage: Stage, axe_source: str, scheme: Literal["light", "dark"], screen: str
) -> None:
    page = await browser.new_page(color_scheme=scheme, viewport=viewport(screen))
    await open_live(page, stage.url)
    await stage.send(numbered(range(40)), key=b"k")
    await wait_for_sum(page, "shown", 40)
    await page.keyboard.press("p")
    assert await findings_of_axe(page, axe_source) == [], "paused"
    await page.keyboard.press("l")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-detail] dl").first).to_be_visible()
    assert await findings_of_axe(page, axe_source) == [], "an event is open"
    await page.keyboard.press("Escape")
    await page.keyboard.press("?")
    await expect(page.locator("[data-help]")).to_be_visible()
    assert await findings_of_axe(page, axe_source) == [], "help is open"
    await page.goto(f"{stage.url}/kafidx?where=klag+bad")
    await expect(page.locator("#e-where")).not_to_be_empty()
    assert await findings_of_axe(page, axe_source) == [], "a filter is invalid"


@pytest.mark.parametrize("path", [*PATHS, "/kafidx"])
async def test_page_is_accessible_with_forced_colours(
    browser: Browser, filled: Stage, axe_source: str, path: str
) -> None:
    page = await browser.new_page(forced_colors="active", viewport=viewport("wide"))
    await page.goto(filled.url + path)
    assert await findings_of_axe(page, axe_source) == []


async def test_theme_follows_the_system_until_one_is_chosen(browser: Browser, stage: Stage) -> None:
    page = await browser.new_page(color_scheme="dark")
    await page.goto(stage.url)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = await page.evaluate(ground)
    await choose_theme(page, "Light")
    light = await page.evaluate(ground)
    assert light != dark
    await page.reload()
    assert await page.evaluate(ground) == light
    await choose_theme(page, "As the system")
    assert await page.evaluate(ground) == dark
    await page.reload()
    assert await page.evaluate(ground) == dark


async def test_menu_of_themes_closes_with_escape_and_returns_the_focus(browser: Browser, stage: Stage) -> None:
    page = await browser.new_page()
    await page.goto(stage.url)
    await page.get_by_label("Theme").first.press("Enter")
    await expect(page.get_by_role("button", name="Dark")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Dark")).to_be_hidden()
    assert await page.evaluate("document.activeElement.ariaLabel") == "Theme"
