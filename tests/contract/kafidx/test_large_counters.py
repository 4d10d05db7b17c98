"""The delay of other requests during the download of a counter with 200,000 labels."""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from services.backbone.counters import Description
from tests.contract.kafidx.serving import PASSWORD
from tests.contract.kafidx.test_counters import fill

LABELS = 200_000
LONGEST_WAIT_S = 0.25
"""With 16 processes on two cores the longest wait was 100 to 150 ms. Without slices it was 1.3 to 2.6 s."""


@pytest.fixture
async def livez(environ: dict[str, str], redis: Redis) -> AsyncIterator[str]:
    """Start kafidx as a process, as in production. Yield a URL that its event loop serves at once."""
    counts = {f"Text {number:06} as visitors write it": 1 + number % 1000 for number in range(LABELS)}
    await fill(redis, Description("search_counter", "Texts", "Text"), counts)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.kafidx",
        env=os.environ | environ | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{environ['INTERNAL_PORT']}/livez"
    try:
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            while process.returncode is None:
                try:
                    async with http.get(url):
                        break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def longest_wait_s(livez: str, download: asyncio.subprocess.Process) -> float:
    """Return the longest time of one response during the download."""
    longest = 0.0
    ended = asyncio.create_task(download.wait())
    gc.collect()
    gc.disable()  # a garbage collection in this process would be measured as a wait
    try:
        async with aiohttp.ClientSession() as http:
            while not ended.done():
                started_s = time.monotonic()
                async with http.get(livez) as response:
                    await response.read()
                longest = max(longest, time.monotonic() - started_s)
                await asyncio.sleep(0.001)
    finally:
        gc.enable()
    return longest


@pytest.mark.measures
@pytest.mark.parametrize(
    "query", ["format=json", "format=csv", "format=csv&sort=label", "sort=label&order=desc", "q=t"]
)
async def test_download_of_200000_labels_delays_no_other_response(
    livez: str, environ: dict[str, str], query: str, tmp_path: Path
) -> None:
    file = tmp_path / "download"
    url = f"http://127.0.0.1:{environ['KAFIDX_PORT']}/consumers/search_counter/data?{query}"
    # curl: the work of this process must not be measured.
    download = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--fail", "--user", f"kafidx:{PASSWORD}", "--output", file, url
    )
    longest_s = await longest_wait_s(livez, download)
    print(f"{query}: longest wait {longest_s * 1000:.0f} ms")  # noqa: T201 - the measurement
    assert download.returncode == 0
    text = file.read_text()
    labels: list[Any] = (
        [line.split(",")[0] for line in text.splitlines()[1:]]
        if "csv" in query
        else [row["label"] for row in json.loads(text)["rows"]]
    )
    assert len(labels) == len(set(labels)) == LABELS
    if "sort=label" in query:
        assert labels == sorted(labels, reverse="desc" in query)
    assert longest_s < LONGEST_WAIT_S
