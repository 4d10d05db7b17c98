from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from deploy.develop.localstack import LocalStack, mongo
from deploy.develop.localstack.mongo import (
    MongoKind,
    MongoServer,
    MongoUnavailableError,
    choose_mongo,
    choose_optional_mongo,
    find_mongod,
)
from deploy.errors import OperatorError


def ignore(_sentence: str) -> None:
    pass


def connect(server: MongoServer) -> MongoClient[dict[str, Any]]:
    return MongoClient(server.url, serverSelectionTimeoutMS=10_000)


def test_acknowledged_writes_survive_a_stop_and_a_kill(mongo_kind: MongoKind, tmp_path: Path) -> None:
    server = MongoServer(mongo_kind, data=tmp_path / "data", log=tmp_path / "mongo.log")
    server.start()
    try:
        server.wait_ready()
        with connect(server) as client:
            client["places"]["offers"].insert_one({"_id": 1, "location": [13.4, 52.5]})
        server.process.stop()
        assert not server.responds()
        server.start()
        server.wait_ready()
        with connect(server) as client:
            assert client["places"]["offers"].find_one({"_id": 1}) == {"_id": 1, "location": [13.4, 52.5]}
            client["places"]["offers"].insert_one({"_id": 2})
        server.process.kill()
        server.start()
        server.wait_ready()
        with connect(server) as client:
            assert [each["_id"] for each in client["places"]["offers"].find(sort=[("_id", 1)])] == [1, 2]
    finally:
        server.process.stop()


def test_the_server_is_the_primary_of_a_replica_set(mongo_server: MongoServer, unique_name: str) -> None:
    with connect(mongo_server) as client:
        client[unique_name]["one"].insert_one({"_id": 1})
        hello = client.admin.command("hello")
        client.drop_database(unique_name)
    assert hello["isWritablePrimary"]
    assert f"replicaSet={hello['setName']}" in mongo_server.url


def test_mongod_does_not_compress_messages(mongo_server: MongoServer) -> None:
    if mongo_server.kind != "mongod":
        pytest.skip("only a mongod has the vulnerability that requires this setting")
    with connect(mongo_server) as client:
        assert "compression" not in client.admin.command({"hello": 1, "compression": ["zlib", "snappy", "zstd"]})


def test_stack_starts_mongo_only_on_request(mongo_kind: MongoKind) -> None:
    with LocalStack(kafka="tansu", say=ignore) as stack, pytest.raises(LookupError, match="has no MongoDB"):
        _ = stack.mongo
    with LocalStack(kafka="tansu", mongo=mongo_kind, say=ignore) as stack:
        assert stack.mongo.responds()
        assert stack.environment()["STORAGE_MONGO_URL"] == stack.mongo.url
        assert stack.storage_url is None  # it was not started
        assert (stack.log_directory / "mongo.log").exists()
    assert not stack.mongo.process.is_alive


@pytest.fixture
def broken_mongod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    binary = tmp_path / "mongod"
    binary.write_text("#!/bin/sh\necho 'libcurl.so.4: cannot open shared object file' >&2\nexit 127\n")
    binary.chmod(0o755)
    monkeypatch.setenv("MONGOD", str(binary))
    return binary


def test_mongod_that_cannot_run_is_reported_with_its_error(broken_mongod: Path) -> None:
    with pytest.raises(MongoUnavailableError, match=rf"{broken_mongod} --version exits with 127: libcurl\.so\.4"):
        choose_mongo("mongod", ignore)


def test_auto_uses_secantus_and_reports_the_reason_when_no_mongod_runs(
    broken_mongod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[str] = []
    monkeypatch.setattr(mongo, "_fetch", lambda *_arguments: Path())
    assert choose_mongo("auto", reported.append) == "secantus"
    assert str(broken_mongod) in reported[0]


def test_auto_goes_on_without_mongo_and_reports_the_reason_when_no_server_runs(
    broken_mongod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_arguments: object) -> Path:
        raise MongoUnavailableError("SecantusDB (60 MB) could not be fetched.")

    monkeypatch.setattr(mongo, "_fetch", fetch)
    reported: list[str] = []
    assert choose_optional_mongo("auto", reported.append) is None
    assert str(broken_mongod) in reported[0]
    assert reported[1].startswith("No offers and searches, because storage needs MongoDB. SecantusDB (60 MB) could not")
    with pytest.raises(MongoUnavailableError):
        choose_optional_mongo("mongod", reported.append)


def test_none_needs_no_mongo(broken_mongod: Path) -> None:
    assert broken_mongod.exists()
    assert choose_optional_mongo("none", ignore) is None


def test_mongod_in_path_takes_precedence_over_the_wheel(broken_mongod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONGOD")
    monkeypatch.setenv("PATH", str(broken_mongod.parent))
    broken_mongod.write_text("#!/bin/sh\n")
    assert find_mongod(ignore) == broken_mongod


def test_an_unknown_kind_is_reported_with_those_there_are() -> None:
    with pytest.raises(OperatorError, match=r"--mongo mongo: unknown database. Use one of auto, mongod, secantus"):
        choose_mongo("mongo", ignore)  # type: ignore[arg-type]
