"""The pages of storage in a browser: every action, without errors, and axe finds nothing."""

import re
import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from deploy.develop.localstack.mongo import MongoServer
from tests.browser.test_accessibility import SCREENS, findings_of_axe, viewport
from tests.contract.storage.api.serving import SharedStorage, offer

_AT_ONCE = {"MATCH_GRACE_S": "0.05", "MATCH_POLL_S": "0.05"}


class Filled(NamedTuple):
    """A storage with some objects."""

    url: str
    offer: str
    search: str
    far: str


@pytest.fixture(scope="module")
def shared_storage(mongo_server: MongoServer) -> Iterator[SharedStorage]:
    shared = SharedStorage(mongo_server.url, "t-browser")
    shared.environ |= _AT_ONCE
    for name in ("STORAGE_PASSWORD", "STORAGE_APP_PASSWORD"):
        del shared.environ[name]
    with shared.running():
        yield shared


@pytest.fixture
def filled(shared_storage: SharedStorage) -> Iterator[Filled]:
    url = f"http://127.0.0.1:{shared_storage.environ['STORAGE_PORT']}"
    with httpx.Client(base_url=url) as http:

        def create(kind: str, **fields: Any) -> str:
            created: str = http.post(f"/{kind}", json=offer(**fields)).raise_for_status().json()["_id"]
            return created

        rich = {
            "text": "Women's bike, 28 inch\nWith a basket",
            "place": {"en": {"route": "Oranienstraße", "locality": "Berlin"}},
            "images": ["/assets/images/17", None],
            "extdata": {"source": {"item": "Q64"}},
            "showLocation": False,
            "validuntil": time.time_ns() // 1_000_000 + 86_400_000,
        }
        offer_id = create("offers", owner="Importer", **rich)
        search = create("searches", owner="0123456789abcdef", text="", radiusMeters=3000, isMobile=True)
        far = create("searches", owner="x" * 80, at=(13.6, 52.6), keywords=["cake", "k" * 60], isActive=False)
        for number in range(12):
            create("searches", owner="bob", text=f"Search {number}", keywords=["bun", "Bäckerei"], at=(13.4, 52.7))
        yield Filled(url, offer_id, search, far)
    shared_storage.clear()


def paths_of(filled: Filled) -> dict[str, str]:
    region = "center%5Blatitude%5D=52.5&center%5Blongitude%5D=13.4&radius=4000"
    return {
        "searches": "/store/searches?valid=any&limit=5&page=1",
        "offers in a region": f"/store/offers?keywords=bread&{region}",
        "wrong filter": "/store/offers?radius=abc&center%5Blatitude%5D=52&center%5Blongitude%5D=1&next=x",
        "nothing found": "/store/offers?keywords=zzz&not_owner=bob",
        "choose": f"/store/searches?with={filled.offer}",
        "owners": "/store/aggregate",
        "offer": f"/store/details/{filled.offer}",
        "search": f"/store/details/{filled.search}",
        "saved": f"/store/details/{filled.far}?done=saved",
        "matches": "/store/matches",
        "candidates": f"/store/matches?offer={filled.offer}",
        "wrong id": "/store/matches?offer=x",
        "match": f"/store/matches?offer={filled.offer}&search={filled.search}",
        "no match": f"/store/matches?offer={filled.offer}&search={filled.far}",
        "unknown": "/store/details/000000000000000000000000",
        "wrong method": f"/store/delete/offer/{filled.offer}",
    }


async def open_all(page: Page) -> None:
    await page.evaluate("for (const each of document.querySelectorAll('main details')) each.open = true")


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_accessible(
    browser: Browser, filled: Filled, axe_source: str, scheme: Literal["light", "dark"], screen: str
) -> None:
    page = await browser.new_page(color_scheme=scheme, viewport=viewport(screen))
    for name, path in paths_of(filled).items():
        await page.goto(filled.url + path)
        await open_all(page)
        assert await findings_of_axe(page, axe_source) == [], name
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls sideways"


async def test_every_page_is_accessible_with_forced_colours(browser: Browser, filled: Filled, axe_source: str) -> None:
    page = await browser.new_page(forced_colors="active", viewport=viewport("wide"))
    for name, path in paths_of(filled).items():
        await page.goto(filled.url + path)
        await open_all(page)
        assert await findings_of_axe(page, axe_source) == [], name


async def test_controls_are_large_enough_for_a_finger(browser: Browser, filled: Filled) -> None:
    page = await browser.new_page(viewport=viewport("narrow"), has_touch=True, is_mobile=True)
    small = """[...document.querySelectorAll("button, .button, input, select, textarea, summary")]
      .filter(each => each.checkVisibility() && each.type !== "checkbox" && each.type !== "hidden")
      .filter(each => each.getBoundingClientRect().height < 44).map(each => each.outerHTML.slice(0, 80))"""
    for name, path in paths_of(filled).items():
        await page.goto(filled.url + path)
        await open_all(page)
        assert await page.evaluate(small) == [], name


async def test_list_is_filtered_by_the_form_and_by_links(page: Page, filled: Filled) -> None:
    await page.goto(f"{filled.url}/store/offers")
    await page.get_by_role("link", name="Searches", exact=True).click()
    await expect(page.locator(".pager")).to_contain_text("1 to 14 of 14 searches")
    await page.get_by_label("Keywords").fill("bun, cake")
    await page.get_by_label("State").select_option("active")
    await page.get_by_role("button", name="Show searches").click()
    await expect(page.locator(".pager")).to_contain_text("1 to 12 of 12 searches")
    await page.get_by_role("link", name="bob").first.click()
    await expect(page.get_by_label("Owner")).to_have_value("bob")
    await page.get_by_role("link", name="Remove all filters").click()
    await page.get_by_text("Region", exact=True).click()
    for label, value in (("Latitude", "52.5"), ("Longitude", "13.4"), ("Radius", "900")):
        await page.get_by_label(label).fill(value)
    await page.keyboard.press("Enter")
    await expect(page.locator(".pager")).to_contain_text("1 to 1 of 1 search")
    await page.goto(f"{filled.url}/store/searches?limit=6")
    for shown, link in (("1 to 6", "Next"), ("7 to 12", "Next"), ("13 to 14", "Previous"), ("7 to 12", "First")):
        await expect(page.locator(".pager")).to_contain_text(f"{shown} of 14")
        await page.locator(".pager").get_by_text(link).click()
    await expect(page.locator(".pager")).to_contain_text("1 to 6 of 14")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/store/details/[0-9a-f]{24}$"))


async def test_object_is_edited_deactivated_matched_and_deleted(page: Page, filled: Filled) -> None:
    await page.goto(f"{filled.url}/store/details/{filled.offer}")
    await page.get_by_label("Radius in m").fill("40000")
    await page.get_by_label("Text").fill("Bike\nwith a bell")
    await page.get_by_label("Latitude").fill("95")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.locator("#f-latitude-error")).to_contain_text("not between -90 and 90")
    await expect(page.get_by_label("Text")).to_have_value("Bike\nwith a bell")
    await page.get_by_label("Latitude").fill("52.5")
    await page.get_by_label("others see the true location").check()
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.get_by_role("status").first).to_contain_text("The changes are saved.")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Bike")
    await page.get_by_role("button", name="Deactivate").click()
    await expect(page.locator(".object-head")).to_contain_text("inactive")
    await page.get_by_role("button", name="Activate").click()
    await page.get_by_role("button", name="Find matches").click()
    await expect(page.get_by_role("heading", name="Matches 1 search")).to_be_visible()
    await page.locator("summary", has_text="Delete").click()
    await expect(page.get_by_text("This can't be undone.")).to_be_visible()
    await page.get_by_role("button", name="Delete offer").click()
    await expect(page.get_by_role("status").first).to_contain_text("It is deleted.")


async def test_form_that_became_outdated_keeps_what_was_typed(page: Page, filled: Filled) -> None:
    await page.goto(f"{filled.url}/store/details/{filled.offer}")
    async with httpx.AsyncClient(base_url=filled.url) as http:
        await http.put(f"/offers/{filled.offer}", json={"text": "By another"})
    await page.get_by_label("Text").fill("Mine")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.get_by_role("status").first).to_contain_text("your change was not saved")
    await expect(page.get_by_label("Text")).to_have_value("Mine")
    await expect(page.locator("#f-text-hint")).to_have_text("Stored now: By another")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Mine")


async def test_circle_follows_the_radius_that_is_typed(page: Page, filled: Filled) -> None:
    await page.goto(f"{filled.url}/store/details/{filled.offer}")
    circle = page.locator(".map-wide .map-circle")
    radius = float(await circle.get_attribute("r") or 0)
    await page.get_by_label("Radius in m").fill("250")
    assert float(await circle.get_attribute("r") or 0) == pytest.approx(radius / 2)
    await page.get_by_label("Radius in m").fill("2e9")
    assert float(await circle.get_attribute("r") or 0) == pytest.approx(radius / 2)
    await page.locator("#map").hover()
    live = page.locator(".map-live path.map-circle")
    await expect(live).to_be_visible()
    before = await live.get_attribute("d")
    await page.get_by_label("Radius in m").fill("500")
    await expect(live).not_to_have_attribute("d", before or "")


async def test_pair_is_chosen_from_lists_and_sent_by_hand(page: Page, filled: Filled) -> None:
    await page.goto(f"{filled.url}/store/matches?offer={filled.offer}")
    await expect(page.get_by_role("heading", name="Nearest searches")).to_be_visible()
    await page.get_by_role("link", name="Choose a search").click()
    await page.get_by_label("Validity").select_option("any")
    await page.get_by_role("button", name="Show searches").click()
    await page.locator("tr", has_text=filled.far).get_by_role("link", name="Compare").click()
    await expect(page.locator("#verdict")).to_have_text(re.compile("They don't match: 4 conditions of 8 are not met."))
    await page.locator("summary", has_text="Send by hand").click()
    confirm = page.locator(".confirm form")
    await expect(confirm).to_contain_text("They share no keyword")
    await confirm.get_by_role("button", name="Send match").click()
    await expect(page.get_by_role("status").first).to_contain_text("The encounter is owed.")
    await expect(page.locator(".encounters")).to_contain_text("Sent by hand at")
    await page.wait_for_timeout(500)
    await page.reload()
    await expect(page.locator(".encounters")).to_contain_text("The notificationserver accepted it at")


async def test_pages_work_without_scripts(browser: Browser, filled: Filled) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{filled.url}/store/details/{filled.far}")
    await expect(page.locator(".map-wide .map-circle")).to_be_visible()
    await page.get_by_role("button", name="Activate").click()
    await expect(page.get_by_role("status").first).to_contain_text("It is active.")
    await page.locator("summary", has_text="Delete").click()
    await page.get_by_role("button", name="Delete search").click()
    await expect(page.get_by_role("status").first).to_contain_text("It is deleted.")
