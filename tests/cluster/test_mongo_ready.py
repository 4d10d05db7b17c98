"""The check of a member of MongoDB, on a real server."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cluster.generate import KUBERNETES
from deploy.develop.localstack.mongo import MongoKind, MongoServer

SCRIPT = KUBERNETES / "base" / "mongo" / "ready.sh"


@pytest.fixture
def server(mongo_kind: MongoKind, tmp_path: Path) -> Iterator[MongoServer]:
    if mongo_kind != "mongod" or shutil.which("bash") is None:
        pytest.skip("needs Bash and a mongod without a replica set")
    found = MongoServer("mongod", data=tmp_path / "data", log=tmp_path / "mongo.log")
    yield found
    found.process.kill()


def is_ready(server: MongoServer) -> bool:
    done = subprocess.run(["bash", SCRIPT, str(server.port)], capture_output=True, check=False, timeout=10)
    return done.returncode == 0


def test_member_is_ready_only_as_primary_or_secondary(server: MongoServer) -> None:
    assert not is_ready(server), "nothing listens"
    server.start()
    server.process.wait_until(lambda: "Waiting for connections" in server.process.log.read_text(), timeout_s=30)
    assert not is_ready(server), "it has no replica set"
    server.wait_ready()
    assert is_ready(server)
