"""Workers that die, or that exceed their time."""

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
