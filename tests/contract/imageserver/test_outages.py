"""MongoDB is away: requests are refused with a time to try again, nothing is lost, and all continues by itself."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.develop.localstack.mongo import MongoKind, MongoServer
from tests.contract.imageserver.serving import ImageServer, jpeg, wait_until


@pytest.fixture
def own_mongo(mongo_kind: MongoKind, tmp_path: Path) -> Iterator[MongoServer]:
    """A MongoDB that the test may stop."""
    server = MongoServer(mongo_kind, data=tmp_path / "mongo", log=tmp_path / "mongo.log")
    server.start()
    server.wait_ready()
    yield server
    server.process.stop()


@pytest.mark.slow
def test_requests_are_503_while_mongodb_is_away(own_mongo: MongoServer, tmp_path: Path) -> None:
    server = ImageServer(own_mongo.url, "outage", tmp_path / "volume", tmp_path / "scratch", IMAGESERVER_SWEEP_S="1")
    try:
        server.wait_until_ready()
        path = server.path_of(jpeg(1))
        own_mongo.process.stop()
        for response in (server.reader.get(path), server.upload(jpeg(2)), server.client.delete(path)):
            assert (response.status_code, response.json()["error"]) == (503, "unavailable")
            assert response.headers["retry-after"] == "1"
            assert response.headers["cache-control"] == "no-store"
        ready = httpx.get(f"{server.internal_url}/readyz", timeout=10)
        assert ready.status_code == 200
        assert not ready.json()["checks"]["mongo"]["ok"]
        own_mongo.start()
        own_mongo.wait_ready()
        wait_until(lambda: server.reader.get(path).status_code == 200, timeout_s=30)
        assert server.upload(jpeg(2)).status_code == 200
        assert server.end() == 0
    finally:
        server.kill()
