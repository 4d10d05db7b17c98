"""Two services with pages look alike: the same header, theme and error page, on two ports of one host."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response
from playwright.async_api import Browser, Page, expect
from starlette.exceptions import HTTPException

from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone.pages import Assets, Renderer
from services.backbone.pages.render import Site
from services.backbone.process import http_server
from tests.browser.stage import Stage

HEADER = ".top-row"
LOOK = """element => {
  const style = getComputedStyle(element);
  return [style.backgroundColor, style.color, style.fontFamily, style.minHeight, style.padding];
}"""


@pytest.fixture
async def neighbour(tmp_path: Path) -> AsyncIterator[str]:
    """Serve the pages of another service, and yield its URL."""
    (tmp_path / "home.html").write_text('{% extends "base.html" %}{% block main %}<h1>Neighbour</h1>{% endblock %}')
    assets = Assets(tmp_path)
    renderer = Renderer(tmp_path, Site("neighbour", (("Home", "/"),)), assets)
    app = FastAPI()

    @app.get("/")
    async def home(request: Request) -> Response:
        return renderer.page(request.scope, "home.html")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return renderer.error(request.scope, error.status_code, error.detail)

    app.mount("/static", assets)
    port = free_port()
    async with http_server(app, host=LOOPBACK, port=port, drain_s=1.0):
        yield f"http://{LOOPBACK}:{port}"


async def styles_of(page: Page, url: str) -> list[object]:
    await page.goto(url)
    return [await page.locator(name).first.evaluate(LOOK) for name in (".top", HEADER, ".brand", "body")]


async def test_two_services_have_the_same_header(browser: Browser, stage: Stage, neighbour: str) -> None:
    page = await browser.new_page()
    assert await styles_of(page, stage.url) == await styles_of(page, neighbour)
    await expect(page.locator(".brand")).to_have_text("neighbour")
    await expect(page.locator(".brand svg.mark-match")).to_be_visible()


async def test_theme_that_is_chosen_in_one_service_holds_in_the_other(
    browser: Browser, stage: Stage, neighbour: str
) -> None:
    page = await browser.new_page(color_scheme="light")
    await page.goto(stage.url)
    await page.locator("[data-theme-menu] summary").click()
    await page.get_by_role("button", name="Dark").click()
    await page.goto(neighbour)
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await page.locator("[data-theme-menu] summary").click()
    await page.get_by_role("button", name="As the system").click()
    await page.goto(stage.url)
    assert await page.locator("html").get_attribute("data-theme") is None


async def test_two_services_have_the_same_error_page(browser: Browser, stage: Stage, neighbour: str) -> None:
    pages = []
    for url in (stage.url, neighbour):
        page = await browser.new_page()
        response = await page.goto(f"{url}/no-such-page")
        assert response is not None
        assert response.status == 404
        pages.append(await page.locator(".error-state > *:not(.ways-out)").all_text_contents())
    assert pages[0][1:] == pages[1][1:]
    assert "There is no such page" in pages[0]


async def test_style_guide_has_a_map_with_place_names(browser: Browser, stage: Stage) -> None:
    # The service runs with the packages of its own lock, so the names must not need another one.
    page = await browser.new_page()
    await page.goto(f"{stage.url}/styleguide")
    await expect(page.locator("#sample-map.map-is-live")).to_be_visible()
    await expect(page.locator("#sample-map .map-live .map-name", has_text="Kreuzberg")).to_be_visible()
