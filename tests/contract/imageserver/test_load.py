"""The time of a refusal while the queue is full, and the memory after many uploads."""

import itertools
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest
from PIL import Image

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.serving import PATIENT, SERVICE, ImageServer, encoded, jpeg, photo, wait_until
from tests.contract.imageserver.test_hostile import workers

WAITING = 8
REFUSALS = 200
CLIENTS = 4


@pytest.mark.slow
@pytest.mark.measures
def test_upload_beyond_a_full_queue_is_refused_within_50_ms(start: Start) -> None:
    server = start(IMAGESERVER_WORKERS="1", IMAGESERVER_QUEUE=str(WAITING), **PATIENT)
    server.reader.get("/asset/1/available")  # the connection is open
    [worker] = workers(server)
    worker.suspend()  # it takes no time of the processor from what is measured
    bodies = itertools.cycle([jpeg(1), encoded(Image.effect_noise((1_000, 1_000), 90))])
    seconds = []
    with ThreadPoolExecutor(1 + WAITING) as pool:
        held = [
            pool.submit(httpx.post, f"{server.url}/assets/upload", content=jpeg(100 + seed), auth=SERVICE, timeout=90)
            for seed in range(1 + WAITING)
        ]
        wait_until(lambda: server.metric("push_imageserver_waiting") == WAITING)
        try:
            for body in itertools.islice(bodies, REFUSALS):
                begun_s = time.perf_counter()
                response = server.upload(body)
                seconds.append(time.perf_counter() - begun_s)
                assert (response.status_code, response.json()["error"]) == (429, "queue_full")
        finally:
            worker.resume()
        assert {upload.result().status_code for upload in held} == {200}
    print(f"429: median {1e3 * statistics.median(seconds):.1f} ms, maximum {1e3 * max(seconds):.1f} ms")  # noqa: T201
    assert statistics.median(seconds) < 0.025
    assert max(seconds) < 0.050


def resident_mb(server: ImageServer) -> dict[str, float]:
    """Return the resident memory of the process that serves, and of its workers and their fork server."""
    process = psutil.Process(server.process.pid)
    others = sum(child.memory_info().rss for child in process.children(recursive=True))
    return {"server": process.memory_info().rss / 1e6, "workers": others / 1e6}


@pytest.mark.endurance
@pytest.mark.timeout(3_600)
def test_memory_after_10_000_uploads_is_that_after_1_000(start: Start) -> None:
    server = start(IMAGESERVER_SWEEP_S="20", **PATIENT)
    pictures = [
        *(jpeg(seed, 640, 480) for seed in range(4)),
        jpeg(4, 1_600, 1_200),
        encoded(photo(5, 300, 300, "RGBA"), "PNG"),
        encoded(photo(6, 500, 400), "WEBP"),
    ]

    def upload(number: int) -> None:
        # What follows the end of a picture is not kept, and makes its id new.
        content = pictures[number % len(pictures)] + number.to_bytes(8)
        response = server.upload(content)
        assert response.status_code == 200, response.text

    found = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        for numbers in (range(1_000), range(1_000, 10_000)):
            for _ in pool.map(upload, numbers):
                pass
            wait_until(lambda: server.metric("push_imageserver_working") == 0)
            found.append(resident_mb(server))
            print(f"after {numbers.stop:,} uploads: {found[-1]} MB")  # noqa: T201
    assert len(server.files()) == 10_000 * 8
    early, late = found
    for part, size_mb in late.items():
        assert size_mb < 1.1 * early[part], found
