from pathlib import Path

import pytest

from services.backbone.settings import SettingsError
from services.kafkastore.settings import RedisServer, Settings


def test_defaults_fit_one_machine() -> None:
    settings = Settings.from_env({})
    assert settings.redis_servers == (RedisServer("redis://127.0.0.1:6379/0", "127.0.0.1:6379/0"),)
    assert settings.ip_mode == "truncated"
    assert settings.geoip_database == ()
    assert settings.batch_events == 3000


def test_several_redis_urls_replace_redis_url() -> None:
    settings = Settings.from_env(
        {
            "REDIS_URL": "redis://one",
            "KAFKASTORE_REDIS_URLS": "redis://:secret@a:7000/2, rediss://[::1]/ ,unix:///run/redis.sock",
        }
    )
    assert [server.label for server in settings.redis_servers] == ["a:7000/2", "[::1]:6379/0", "/run/redis.sock"]


def test_no_password_is_shown() -> None:
    settings = Settings.from_env({"KAFKASTORE_REDIS_URLS": "redis://u:secret@a", "REDIS_URL": "redis://:secret@b"})
    assert "secret" not in repr(settings)
    assert "secret" not in settings.redis_servers[0].label


@pytest.mark.parametrize(
    "urls",
    [
        "secret@host:6379",
        "redis://:secret@a,http://b",
        "redis://:secret@",
        "redis://:secret@a:port",
        ",",
        "redis://a,redis://:secret@a",
    ],
)
def test_malformed_redis_url_is_reported_without_its_password(urls: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env({"KAFKASTORE_REDIS_URLS": urls})
    assert "KAFKASTORE_REDIS_URLS" in str(error.value)
    assert "secret" not in str(error.value)


def test_all_errors_are_reported_together() -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_env(
            {"IP_MODE": "some", "KAFKASTORE_BATCH_EVENTS": "0", "KAFKASTORE_LEASE_S": "1", "INTERNAL_PORT": "x"}
        )
    for name in ("IP_MODE", "KAFKASTORE_BATCH_EVENTS", "KAFKASTORE_LEASE_S", "INTERNAL_PORT"):
        assert name in str(error.value)


def test_databases_are_listed_with_commas() -> None:
    settings = Settings.from_env({"GEOIP_DATABASE": "/a/v4.mmdb, /a/v6.mmdb"})
    assert settings.geoip_database == (Path("/a/v4.mmdb"), Path("/a/v6.mmdb"))
