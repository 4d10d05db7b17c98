"""The effects on clients of a server that is killed or created anew."""

import signal
import time
from pathlib import Path

import pytest

from tests.nfs.machine import Guest, NfsServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


def test_killed_server_loses_nothing_and_serves_again_in_25_seconds(server: NfsServer, guest: Guest) -> None:
    with guest.run("killed_server"):
        assert guest.result("under load", limit_s=60) > 0
        time.sleep(2)
        server.end(signal.SIGKILL)
        time.sleep(3)
        server.start()
        found = guest.result("after", limit_s=150)
    assert found["errors"] == []
    assert found["lost"] == 0
    assert found["longest_s"] < 25
    assert found["stored"] > found["before"]


def test_recreated_server_leaves_no_stale_handle(server: NfsServer, guest: Guest) -> None:
    with guest.run("recreated_server"):
        guest.result("open", limit_s=60)
        server.end()
        time.sleep(1)
        server.start()
        assert guest.result("errors", limit_s=120) == []


def test_clients_that_end_leave_no_state_on_the_volume(server: NfsServer, programs: Path, tmp_path: Path) -> None:
    for _ in range(20):
        assert server.is_ready(programs / "ready")
    clients = [path for path in (tmp_path / "volume" / "recovery" / "v4recov").rglob("*ready*") if path.is_dir()]
    assert len(clients) == 1
    assert list((tmp_path / "volume" / "files").iterdir()) == []
