"""A volume that hangs: a FIFO takes the place of a file, and an open of it waits for ever."""

import os

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.serving import jpeg


def test_process_ends_at_a_stop_while_a_read_hangs(start: Start) -> None:
    server = start(IMAGESERVER_VOLUME_TIMEOUT_S="0.5")
    path = server.path_of(jpeg(1))
    name = server.reader.get(f"{path}/thumb").headers["etag"].strip('"')
    file = server.volume / name[:2] / name
    file.unlink()
    os.mkfifo(file)
    response = server.reader.get(f"{path}/thumb")
    assert (response.status_code, response.json()["error"]) == (503, "volume_away")
    assert server.end() == 0
