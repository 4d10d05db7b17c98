"""The live page and many subscribers at full load, measured in one run.

The test prints its measurement (`pytest -s -m slow tests/browser/test_load_with_subscribers.py`).
tests/journey/kafidx_load.py lists the variables that change the load.
"""

import asyncio
import contextlib
import json
import time
from typing import Any

import pytest
from playwright.async_api import Page, expect

from deploy.develop.localstack import LocalStack
from services.backbone.kafka import EventProducer
from services.backbone.settings import KafkaSettings
from tests.browser.live_page import open_live
from tests.browser.measures import MAIN_THREAD, press_pause_now_and_then
from tests.browser.stage import Stage
from tests.journey.kafidx_load import (
    MAX_STUCK_MB,
    MB,
    SECONDS,
    STUCK,
    SUBSCRIBERS,
    MemoryOf,
    Subscriber,
    assert_all_accounted_for,
    assert_nothing_missed,
    open_socket,
    produce,
)

WARM_UP_S = 5.0
LATE_S = 60.0


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.timeout(SECONDS * 3 + 180)
async def test_page_responds_with_many_subscribers_of_which_one_never_reads(
    page: Page, stack: LocalStack, stage: Stage
) -> None:
    memory = MemoryOf(stack.service("kafidx").pid)
    await page.add_init_script(MAIN_THREAD)
    await open_live(page, stage.url)
    async with (
        EventProducer(KafkaSettings.from_env(stack.environment())) as producer,
        contextlib.AsyncExitStack() as cleanup,
    ):
        sockets = [await cleanup.enter_async_context(open_socket(stage.url)) for _ in range(SUBSCRIBERS - STUCK)]
        readers = [Subscriber(ws) for ws in sockets]
        tasks = [asyncio.create_task(reader.read()) for reader in readers]
        # Allocate the memory of the reading subscribers, the page and the recent events first. The measurement is then
        # the memory of the subscribers that never read.
        warm_up = await produce(producer, seconds=WARM_UP_S)
        await asyncio.gather(*(reader.until(warm_up, limit_s=LATE_S) for reader in readers))
        stuck = [await cleanup.enter_async_context(open_socket(stage.url, small_buffer=True)) for _ in range(STUCK)]
        before, cpu_before_s, begun_s = memory.now(), memory.cpu_s(), time.monotonic()
        sampling = asyncio.create_task(memory.sample())
        pausing = asyncio.create_task(press_pause_now_and_then(page, SECONDS))
        count = await produce(producer)
        took_s = time.monotonic() - begun_s
        await pausing
        await asyncio.gather(*(reader.until(warm_up + count, limit_s=LATE_S) for reader in readers))
        cpu_s = memory.cpu_s() - cpu_before_s
        await expect(page.locator("[data-shown]")).to_have_text(f"{warm_up + count:,}", timeout=LATE_S * 1000)
        await expect(page.locator("[data-dropped]")).to_have_text("0")
        sampling.cancel()
        late = [Subscriber(ws) for ws in stuck]
        tasks += [asyncio.create_task(reader.read()) for reader in late]
        await asyncio.gather(*(reader.until(count, limit_s=LATE_S) for reader in late))
        for task in tasks:
            task.cancel()
    measured: dict[str, Any] = await page.evaluate("measured()")
    results = {
        "events": count,
        "events_per_s": round(count / took_s),
        "subscribers": SUBSCRIBERS,
        "of_them_never_reading": STUCK,
        "rows_to_readers": sum(reader.rows for reader in readers),
        "dropped_of_readers": sum(reader.ledger()["dropped"] for reader in readers),
        "ledger_of_those_that_never_read": [reader.ledger() for reader in late],
        "kafidx_cpu_cores": round(cpu_s / took_s, 2),
        "kafidx_mb_before_peak": [round(size / MB, 1) for size in (before, memory.peak)],
        "page": measured,
    }
    print("\n" + json.dumps(results, indent=1))  # noqa: T201 - this test reports its measurement
    assert_nothing_missed(readers, warm_up + count)
    assert_all_accounted_for(late, count)
    assert memory.peak - before < STUCK * MAX_STUCK_MB * MB
    assert measured["longest_task_ms"] <= 200
    assert measured["pause_slowest_ms"] <= 250
    assert measured["most_rows"] <= 1_000
