"""The job as a process, on real servers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from deploy.develop.localstack.mongo import MongoKind, MongoServer
from deploy.develop.localstack.ports import free_port

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "services.mongosetup"]
Start = Callable[[str], MongoServer]


def environ(*members: str, **settings: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "MONGOSETUP_MEMBERS": ",".join(members), "LOG_FORMAT": "json", **settings}


def run(*members: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, cwd=ROOT, env=environ(*members, **settings), capture_output=True, text=True, timeout=60, check=False
    )


def lines(finished: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {line["event"]: line for line in map(json.loads, finished.stderr.splitlines()) if "event" in line}


def address(server: MongoServer) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def start(mongo_kind: MongoKind, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts an empty mongod by a name."""
    if mongo_kind != "mongod":
        pytest.skip("SecantusDB has its replica set from the start")
    with contextlib.ExitStack() as stack:

        def start_server(name: str) -> MongoServer:
            server = MongoServer("mongod", data=tmp_path / name, log=tmp_path / f"{name}.log")
            stack.callback(server.process.kill)
            server.start()
            return server

        yield start_server


def test_set_of_one_is_created_once_and_then_unchanged(start: Start) -> None:
    server = start("m0")
    first = run(address(server))  # mongod does not listen yet
    assert first.returncode == 0, first.stderr
    assert {"replica_set_created", "replica_set_ready"} <= lines(first).keys()
    with MongoClient[dict[str, Any]](server.url) as client:
        client.kept.things.insert_one({"_id": 1})
        begun_at = client.admin.command("replSetGetConfig")["config"]["settings"]["replicaSetId"]
        again = run(address(server))
        assert again.returncode == 0
        assert "replica_set_created" not in lines(again)
        other = run(address(server), f"127.0.0.1:{free_port()}")
        assert other.returncode == 0
        [difference] = lines(other)["replica_set_differs"]["differences"]
        assert difference.endswith("is not a member")
        assert client.admin.command("replSetGetConfig")["config"]["settings"]["replicaSetId"] == begun_at
        assert client.kept.things.count_documents({}) == 1


def test_job_exits_with_the_reason_when_a_member_does_not_respond(start: Start) -> None:
    server, nowhere = start("m0"), f"127.0.0.1:{free_port()}"
    finished = run(address(server), nowhere, MONGOSETUP_WAIT_S="2.5")
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith(f"no primary of rs0 after 2.5 s: {nowhere} does not respond")


def test_job_stopped_while_waiting_exits_with_1() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    with subprocess.Popen(COMMAND, cwd=ROOT, env=environ(nowhere), stderr=subprocess.PIPE, text=True) as job:
        assert job.stderr is not None
        assert "waiting_for_mongodb" in job.stderr.readline()
        begun_s = time.monotonic()
        job.send_signal(signal.SIGTERM)
        assert job.wait(10) == 1
        assert time.monotonic() - begun_s < 5  # the time that compose allows
        assert "stopped before the replica set had a primary" in job.stderr.read()


@pytest.mark.slow
def test_three_members_become_one_set_and_a_lost_volume_does_not_make_another(start: Start, tmp_path: Path) -> None:
    servers = [start(name) for name in ("m0", "m1", "m2")]
    members = [address(server) for server in servers]
    created = run(*members)
    assert created.returncode == 0, created.stderr
    url = f"mongodb://{','.join(members)}/?replicaSet=rs0"
    with MongoClient[dict[str, Any]](url) as client:
        client.kept.things.insert_one({"_id": 1})
        primary = client.primary
        assert primary is not None
        # The member that would create a set is the first one. It loses its data, and a job starts at once.
        servers[0].process.kill()
        for path in (tmp_path / "m0").rglob("*"):
            if path.is_file():
                path.unlink()
        servers[0].start()
        again = run(*members)
        assert again.returncode == 0, again.stderr
        assert "replica_set_created" not in lines(again)
        assert client.kept.things.count_documents({}) == 1
        until_s = time.monotonic() + 60
        while _states(client) != {"PRIMARY", "SECONDARY"}:
            assert time.monotonic() < until_s, _states(client)
            time.sleep(0.2)  # no event reports it


def _states(client: MongoClient[dict[str, Any]]) -> set[str]:
    with contextlib.suppress(Exception):
        return {member["stateStr"] for member in client.admin.command("replSetGetStatus")["members"]}
    return set()
