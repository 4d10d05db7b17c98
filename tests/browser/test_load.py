"""The live page under load, in a real browser. The README of kafidx quotes the results.

Each test prints its measurement (`pytest -s -m slow tests/browser/test_load.py`).
"""

import asyncio
import json
import time
from bisect import bisect_left
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, expect

from deploy.develop.localstack import LocalStack
from services.backbone.kafka import EventProducer
from services.backbone.settings import KafkaSettings
from tests.browser.live_page import numbers, open_live, rows_of
from tests.browser.measures import DRAWINGS, MAIN_THREAD, press_pause_now_and_then
from tests.browser.stage import Stage
from tests.journey.kafidx_load import SECONDS, produce


def p99(values: list[float]) -> int:
    return round(sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)])


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.timeout(SECONDS * 3 + 60)
async def test_page_under_load_responds_and_shows_every_event(page: Page, stack: LocalStack, stage: Stage) -> None:
    await page.add_init_script(MAIN_THREAD)
    await open_live(page, stage.url)
    async with EventProducer(KafkaSettings.from_env(stack.environment())) as producer:
        pausing = asyncio.create_task(press_pause_now_and_then(page, SECONDS))
        sent = await produce(producer)
        await pausing
    await expect(page.locator("[data-shown]")).to_have_text(f"{sent:,}", timeout=30_000)
    await expect(page.locator("[data-dropped]")).to_have_text("0")
    measured: dict[str, Any] = await page.evaluate("measured()")
    print(json.dumps({"events_per_s": round(sent / SECONDS)} | measured))  # noqa: T201 - this test reports its measurement
    assert measured["longest_task_ms"] <= 200
    assert measured["pause_slowest_ms"] <= 250
    assert measured["most_rows"] <= 1_000


@pytest.mark.slow
@pytest.mark.measures
async def test_time_from_pixel_to_row(page: Page, stack: LocalStack, stage: Stage, tmp_path: Path) -> None:
    rate, seconds, warm_up = 500, 22, 1_000  # the first events are slower, since the services have just started
    stack.start_service("tracker")
    stack.start_service("kafkastore")
    stack.wait_until_ready()
    await page.add_init_script(DRAWINGS)
    await open_live(page, stage.url)
    requested: dict[int, float] = {}
    responded: dict[int, float] = {}

    async with aiohttp.ClientSession() as client:

        async def pixel(number: int) -> None:
            requested[number] = time.time() * 1000
            async with client.get(f"{stack.tracker_url}/t/view.gif?n={number}") as response:
                assert response.status == 200
                responded[number] = time.time() * 1000

        started_s, pixels = time.monotonic(), []
        for number in range(rate * seconds):
            await asyncio.sleep(max(0.0, started_s + number / rate - time.monotonic()))
            pixels.append(asyncio.create_task(pixel(number)))
        await asyncio.gather(*pixels)
        took_s = time.monotonic() - started_s
    await expect(page.locator("[data-shown]")).to_have_text(f"{rate * seconds:,}")
    await page.wait_for_function("total => drawings.length > 0 && drawings.at(-1)[1] >= total", arg=rate * seconds)
    drawings: list[tuple[float, int]] = await page.evaluate("drawings")
    # Row n of the list is visible from the first drawing of a list with n rows.
    order = numbers(await rows_of(page, tmp_path))
    times = [at_ms for at_ms, _ in drawings]
    lengths = [length for _, length in drawings]
    drawn = {number: times[bisect_left(lengths, length)] for length, number in enumerate(order, start=1)}
    counted = range(warm_up, rate * seconds)
    from_response = [drawn[number] - responded[number] for number in counted]
    # When this test reads a response late, that time looks shorter. So measure from the request as well.
    from_request = [drawn[number] - requested[number] for number in counted]
    results = {
        "rows": len(counted),
        "pixels_per_s": round(rate * seconds / took_s),
        "from_response_p50_p99_ms": [round(median(from_response)), p99(from_response)],
        "from_request_p50_p99_ms": [round(median(from_request)), p99(from_request)],
    }
    print(json.dumps(results))  # noqa: T201 - this test reports its measurement
    assert sorted(order) == list(range(rate * seconds))
    assert took_s < seconds * 1.05, "the test sent the pixels too slowly"
    assert p99(from_response) < 250
