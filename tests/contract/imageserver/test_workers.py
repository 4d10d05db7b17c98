"""Workers that die, or that exceed their time."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.serving import jpeg, wait_until
from tests.contract.imageserver.test_hostile import workers


@pytest.mark.parametrize("killed", [1, 2], ids=["one", "all"])
def test_uploads_succeed_when_idle_workers_have_died(start: Start, killed: int) -> None:
    server = start(IMAGESERVER_WORK_TIMEOUT_S="30", IMAGESERVER_QUEUE_TIMEOUT_S="30")
    for round_ in range(2):
        for worker in workers(server)[:killed]:
            worker.kill()
        for number in range(3):
            response = server.upload(jpeg(10 * round_ + number))
            assert response.status_code == 200, response.text
    server.wait_until_ready()
    wait_until(lambda: len(workers(server)) == 2)


@pytest.mark.parametrize("seeds", [[1] * 8, list(range(8))], ids=["equal", "different"])
def test_uploads_get_a_response_in_time_when_all_workers_hang(start: Start, seeds: list[int]) -> None:
    server = start(IMAGESERVER_WORK_TIMEOUT_S="1", IMAGESERVER_QUEUE_TIMEOUT_S="1")
    contents = [jpeg(seed) for seed in range(9)]
    for worker in workers(server):
        worker.suspend()  # as a decoder in an endless loop

    def upload(seed: int) -> tuple[int, float]:
        begun_s = time.monotonic()
        response = server.upload(contents[seed])
        return response.status_code, time.monotonic() - begun_s

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(upload, seeds))
    assert {status for status, _ in found} <= {200, 422, 429}
    assert max(seconds for _, seconds in found) < 1 + 1 + 3  # both limits, and a busy machine
    wait_until(lambda: server.upload(contents[8]).status_code == 200, timeout_s=60)
