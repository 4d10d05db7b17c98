"""Two imageservers on two mounts of the NFS server."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.develop.localstack.mongo import MongoUnavailableError, find_mongod
from tests.nfs.machine import MONGO_PORT, SERVER_ADDRESS, Guest, Namespace, NfsServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

INITIATE = f"""
import time
from pymongo import MongoClient
member = "{SERVER_ADDRESS}:{MONGO_PORT}"
client = MongoClient(member, directConnection=True, serverSelectionTimeoutMS=30_000)
client.admin.command("replSetInitiate", {{"_id": "rs0", "members": [{{"_id": 0, "host": member}}]}})
while not client.admin.command("hello")["isWritablePrimary"]:
    time.sleep(0.1)
"""


@pytest.fixture
def mongo(namespace: Namespace, tmp_path: Path) -> Iterator[None]:
    """Start a replica set of one member in the network of the machine."""
    try:
        mongod = find_mongod(print)
    except MongoUnavailableError as reason:
        pytest.skip(str(reason))
    (tmp_path / "mongo").mkdir()
    options = ["--bind_ip", SERVER_ADDRESS, "--port", str(MONGO_PORT), "--replSet", "rs0", "--nounixsocket"]
    options += ["--wiredTigerCacheSizeGB", "0.25", "--dbpath", str(tmp_path / "mongo")]
    with (tmp_path / "mongo.log").open("wb") as log:
        process = subprocess.Popen(namespace.command(mongod, *options), stdout=log, stderr=log)
    try:
        subprocess.run(namespace.command(sys.executable, "-c", INITIATE), check=True, timeout=60)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("mongo")
@pytest.mark.parametrize(
    "pictures",
    [50, pytest.param(1_000, marks=[pytest.mark.endurance, pytest.mark.timeout(3_600)])],
    ids=["short", "long"],
)
def test_replicas_serve_what_another_stored_and_respond_503_while_the_server_is_stopped(
    server: NfsServer, guest: Guest, pictures: int
) -> None:
    with guest.run("replicas", str(pictures)):
        for _ in ("default options", "ours"):
            # Not there, stored at one, served by the other as a JPEG.
            served = guest.result("served", limit_s=150 + pictures)
            assert served == {"of": pictures, "outcomes": [[404, 200, 200, True]]}
        assert guest.result("reads", limit_s=60).keys() == {"200"}
        server.send(signal.SIGSTOP)
        stopped = guest.result("stopped", limit_s=120)
        server.send(signal.SIGCONT)
        recovered = guest.result("recovered", limit_s=60)
    assert stopped["reads"].keys() == {"503"}
    assert stopped["longest_s"] < 6
    assert stopped["live"].keys() == {"200"}
    assert stopped["live_s"] < 0.1
    assert stopped["ready"] == 503
    assert stopped["threads"] <= 0
    assert stopped["memory_kb"] < 5_000
    assert recovered.keys() == {"200"}
