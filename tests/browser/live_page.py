"""Actions of a reader on the live page."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from playwright.async_api import Page, expect


async def open_live(page: Page, url: str, query: str = "") -> None:
    """Open the page and wait until its socket is open."""
    await page.goto(f"{url}/kafidx{query}")
    await expect(page.locator(".state")).to_have_attribute("data-state", "open")


async def wait_for_sum(page: Page, name: str, count: int) -> None:
    """Wait until the status line shows a count."""
    await expect(page.locator(f"[data-{name}]")).to_have_text(f"{count:,}")


async def open_filters(page: Page) -> None:
    """Open the panel of filters, which is closed until a filter is set."""
    await page.locator("[data-filter-toggle]").click()
    await expect(page.locator("[data-filters]")).to_be_visible()


async def exported(page: Page, command: str, folder: Path) -> str:
    """Press an export button and return the text of the file."""
    async with page.expect_download() as download:
        await page.locator(f"[data-command={command}]:visible").click()
    path = folder / f"export.{command}"
    await (await download.value).save_as(path)
    return path.read_bytes().decode()


async def rows_of(page: Page, folder: Path) -> list[dict[str, Any]]:
    """Return all rows of the list, oldest first."""
    return [json.loads(line) for line in (await exported(page, "ndjson", folder)).splitlines()]


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    """Return the parameter `n` of each row."""
    return [int(parse_qs(row["params"])["n"][0]) for row in rows]
