"""A volume that is not there at the start, or hangs: a FIFO takes the place of a file, and an open of it waits."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.serving import jpeg, wait_until


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


def test_all_directories_exist_before_the_first_upload(start: Start) -> None:
    """An NFS client that looks for a missing directory does not see it for 30 s. The sweep looks for all of them."""
    server = start()
    before = sorted(server.volume.glob("[0-9a-f][0-9a-f]"))
    assert len(before) == 256
    server.path_of(jpeg(1))
    assert sorted(server.volume.glob("[0-9a-f][0-9a-f]")) == before


def test_start_waits_for_the_volume(start: Start, tmp_path: Path) -> None:
    volume = tmp_path / "later"
    volume.write_bytes(b"not a directory yet")
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(start, volume=volume)
        wait_until(
            lambda: any("volume_not_available" in log.read_text() for log in tmp_path.glob("*.log")), timeout_s=60
        )
        volume.unlink()
        assert starting.result().upload(jpeg(1)).status_code == 200
