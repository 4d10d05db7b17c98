"""A volume that is full at any of the calls of an upload."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.full import NEVER
from tests.contract.imageserver.serving import jpeg
from tests.contract.imageserver.test_failures import CALLS


@pytest.mark.parametrize(
    "calls",
    [(0, 1, 2, 3, CALLS - 1), pytest.param(range(CALLS), marks=[pytest.mark.slow, pytest.mark.timeout(300)])],
    ids=["some_calls", "each_call"],
)
def test_full_volume_at_a_call_publishes_nothing_and_works_again(
    start: Start, tmp_path: Path, calls: Sequence[int]
) -> None:
    left = tmp_path / "calls-left"
    left.write_text(str(NEVER))
    command = ("tests.contract.imageserver.full", str(left))
    server = start(command=command, IMAGESERVER_WORK_TIMEOUT_S="60", IMAGESERVER_QUEUE_TIMEOUT_S="60")
    for number in calls:
        content = jpeg(number)
        left.write_text(str(number))
        response = server.upload(content)
        assert (response.status_code, response.json()["error"]) == (507, "volume_full"), number
        assert left.read_text() == str(NEVER)
        assert server.files() == []
        path = server.path_of(content)
        assert len(server.files()) == 8
        assert server.reader.get(path).status_code == 200
        assert server.client.delete(path).status_code == 204
        for file in server.files():
            file.unlink()
