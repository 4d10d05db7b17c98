"""A copy of the volume of one member restores a replica set of three (deploy/runbooks.md)."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from deploy.develop.localstack.mongo import MongoKind, MongoServer

NAMES = ("m0", "m1", "m2")
DOCUMENTS = 1000
LIMIT_S = 90

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def members(mongo_kind: MongoKind, tmp_path: Path) -> Iterator[list[MongoServer]]:
    if mongo_kind != "mongod":
        pytest.skip("SecantusDB has no members")
    with contextlib.ExitStack() as stack:
        servers = []
        for name in NAMES:
            server = MongoServer("mongod", data=tmp_path / name, log=tmp_path / f"{name}.log")
            stack.callback(server.process.kill)
            servers.append(server)
        yield servers


def start_all(members: list[MongoServer]) -> None:
    for server in members:
        server.start()
        server.process.wait_until(partial(_listens, server.port), timeout_s=LIMIT_S)


def _listens(port: int) -> bool:
    found: MongoClient[dict[str, Any]] = MongoClient(
        "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=500
    )
    with contextlib.suppress(PyMongoError), found as client:
        return bool(client.admin.command("ping"))
    return False


def client_of(members: list[MongoServer]) -> MongoClient[dict[str, Any]]:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in members)
    return MongoClient(f"mongodb://{hosts}/?replicaSet=rs0", serverSelectionTimeoutMS=1000 * LIMIT_S)


def wait_for_all(client: MongoClient[dict[str, Any]]) -> None:
    until_s = time.monotonic() + LIMIT_S
    states: list[str] = []
    while sorted(states) != ["PRIMARY", "SECONDARY", "SECONDARY"]:
        assert time.monotonic() < until_s, states
        time.sleep(0.3)  # no event reports it
        with contextlib.suppress(PyMongoError):
            states = [each["stateStr"] for each in client.admin.command("replSetGetStatus")["members"]]


def test_copy_of_a_secondary_restores_the_set_when_all_volumes_are_lost(
    members: list[MongoServer], tmp_path: Path
) -> None:
    start_all(members)
    config = [{"_id": number, "host": f"127.0.0.1:{server.port}"} for number, server in enumerate(members)]
    with MongoClient[dict[str, Any]]("127.0.0.1", members[0].port, directConnection=True) as first:
        first.admin.command("replSetInitiate", {"_id": "rs0", "members": config})
    with client_of(members) as client:
        wait_for_all(client)
        client.kept.things.insert_many([{"n": number} for number in range(DOCUMENTS)])
        ports = [server.port for server in members]
        primary = client.primary
        assert primary is not None
        secondary = next(number for number, port in enumerate(ports) if port != primary[1])
        until_s = time.monotonic() + LIMIT_S
        while _count(members[secondary]) < DOCUMENTS:
            assert time.monotonic() < until_s
            time.sleep(0.1)
    members[secondary].process.kill()  # like a snapshot: without a checkpoint
    shutil.copytree(tmp_path / NAMES[secondary], tmp_path / "backup")
    for server, name in zip(members, NAMES, strict=True):
        server.process.kill()
        shutil.rmtree(tmp_path / name)
        (tmp_path / name).mkdir()
    shutil.copytree(tmp_path / "backup", tmp_path / NAMES[0], dirs_exist_ok=True)
    start_all(members)
    with client_of(members) as client:
        wait_for_all(client)
        assert client.kept.things.count_documents({}) == DOCUMENTS
    assert {_count(server) for server in members} == {DOCUMENTS}


def _count(server: MongoServer) -> int:
    url = f"mongodb://127.0.0.1:{server.port}/?directConnection=true&readPreference=secondaryPreferred"
    with MongoClient[dict[str, Any]](url) as client:
        return int(client.kept.things.count_documents({}))
