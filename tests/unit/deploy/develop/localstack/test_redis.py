import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis

from deploy.develop.localstack import redis as subject
from deploy.develop.localstack.redis import LocalRedis, find_redis_server


@pytest.fixture
def no_servers_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")


@pytest.mark.usefixtures("no_servers_on_path")
def test_server_of_the_wheel_is_used_when_the_machine_has_none() -> None:
    assert find_redis_server("auto") == find_redis_server("wheel")
    assert "site-packages" in str(find_redis_server("wheel"))


@pytest.mark.usefixtures("no_servers_on_path")
def test_missing_server_is_reported_with_the_names_that_were_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_WHEELS", ("no_such_wheel",))
    with pytest.raises(FileNotFoundError, match=r"no redis-server, no valkey-server, and no wheel no_such_wheel"):
        find_redis_server()


def test_server_of_the_wheel_keeps_its_data_after_a_kill(tmp_path: Path) -> None:
    server = LocalRedis(data=tmp_path / "data", log=tmp_path / "log", choice="wheel")
    server.start()
    try:
        server.wait_ready()
        with Redis.from_url(server.url) as client:
            client.config_set("appendfsync", "always")
            client.rpush("list", "a", "b")
        server.process.kill()
        server.start()
        server.wait_ready()
        with Redis.from_url(server.url) as client:
            assert client.lrange("list", 0, -1) == [b"a", b"b"]
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    finally:
        server.process.stop()


def test_redis_listens_on_loopback_only(redis_server: LocalRedis) -> None:
    port = urlsplit(redis_server.url).port
    assert port is not None
    for address in {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)}:
        if not str(address).startswith("127."):
            with socket.socket() as probe:
                assert probe.connect_ex((str(address), port)) != 0


def test_flush_deletes_all_keys(clean_redis: LocalRedis) -> None:
    with Redis.from_url(clean_redis.url) as client:
        client.set("key", "value")
        clean_redis.flush()
        assert client.dbsize() == 0
