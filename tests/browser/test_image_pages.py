"""The page of the imageserver in a browser: axe finds nothing, files are uploaded, and refusals are explained."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Browser, expect

from deploy.develop.localstack.mongo import MongoServer
from tests.browser.test_accessibility import SCREENS, findings_of_axe, viewport
from tests.contract.imageserver.serving import SERVICE, ImageServer, jpeg

LOGIN = {"username": SERVICE[0], "password": SERVICE[1]}


@pytest.fixture(scope="module")
def images(mongo_server: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageServer]:
    folder = tmp_path_factory.mktemp("images")
    server = ImageServer(mongo_server.url, f"i-{folder.name}", folder / "volume", folder / "scratch")
    server.wait_until_ready()
    for seed in range(12):
        server.upload(jpeg(seed, 640, 480), secrets.token_hex(32) if seed % 2 else None)
    yield server
    server.kill()


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_state_of_the_page_is_accessible(
    browser: Browser, images: ImageServer, axe_source: str, scheme: Literal["light", "dark"], screen: str
) -> None:
    page = await browser.new_page(color_scheme=scheme, viewport=viewport(screen), http_credentials=LOGIN)  # type: ignore[arg-type]
    for path in ("/assets", "/assets?q=ffffffff", "/assets?q=x", "/nothing"):
        await page.goto(images.url + path)
        await page.evaluate("for (const each of document.querySelectorAll('main details')) each.open = true")
        assert await findings_of_axe(page, axe_source) == [], path
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"


async def test_files_are_uploaded_and_refusals_explained(browser: Browser, images: ImageServer, tmp_path: Path) -> None:
    page = await browser.new_page(http_credentials=LOGIN)  # type: ignore[arg-type]
    await page.goto(f"{images.url}/assets")
    first = page.locator("tbody img").first
    before = await first.get_attribute("src")
    (tmp_path / "good.jpg").write_bytes(jpeg(900, 640, 480))
    (tmp_path / "bad.jpg").write_bytes(b"<svg/>")
    await page.set_input_files("#file", [tmp_path / "good.jpg", tmp_path / "bad.jpg"])
    await page.get_by_role("button", name="Upload", exact=True).click()
    rows = page.locator("[data-uploads] li")
    await expect(rows.nth(0)).to_contain_text("stored")
    await expect(rows.nth(1)).to_contain_text("The upload is not a JPEG, PNG, GIF, WebP or AVIF picture.")
    await page.set_input_files("#file", tmp_path / "good.jpg")
    await page.get_by_role("button", name="Upload", exact=True).click()
    await expect(first).not_to_have_attribute("src", before or "")


async def test_picture_is_deleted_after_a_confirmation(browser: Browser, images: ImageServer) -> None:
    page = await browser.new_page(http_credentials=LOGIN)  # type: ignore[arg-type]
    await page.goto(f"{images.url}/assets")
    path = await page.locator("tbody th a").first.get_attribute("href")
    await page.locator("tbody summary").first.click()
    await page.get_by_role("button", name="Delete picture").first.click()
    await expect(page.locator(f'a[href="{path}"]')).to_have_count(0)
    assert images.reader.get(path or "").status_code == 404
