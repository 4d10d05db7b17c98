import pytest
from pydantic import Field, SecretStr

from services.backbone.settings import (
    LOCAL_REDIS,
    PLACEHOLDER,
    EnvSettings,
    KafkaSettings,
    MapSettings,
    PageSettings,
    ProcessSettings,
    RedisUrl,
    Seconds,
    SettingsError,
    is_loopback,
    tiles_host,
)


class Example(ProcessSettings, KafkaSettings):
    limit: int = Field(5, ge=1, le=10, alias="EXAMPLE_LIMIT")
    url: str = Field(alias="EXAMPLE_URL")
    password: SecretStr = Field(alias="EXAMPLE_PASSWORD")


GOOD = {"EXAMPLE_URL": "http://here", "EXAMPLE_PASSWORD": "hunter2"}


def test_variables_become_fields_and_others_are_ignored() -> None:
    settings = Example.from_env({**GOOD, "EXAMPLE_LIMIT": "7", "KAFKA_IDEMPOTENCE": "off", "UNKNOWN": "x"})
    assert (settings.limit, settings.url, settings.idempotence) == (7, "http://here", False)


def test_empty_variable_counts_as_not_set() -> None:
    assert Example.from_env({**GOOD, "EXAMPLE_LIMIT": " "}).limit == 5


def test_all_errors_are_in_one_message() -> None:
    environ = {"EXAMPLE_LIMIT": "11", "INTERNAL_PORT": "http", "LOG_LEVEL": "LOUD", "EXAMPLE_PASSWORD": "hunter2"}
    with pytest.raises(SettingsError) as fault:
        Example.from_env(environ)
    lines = str(fault.value).splitlines()[1:]
    named = {line.split(":")[0].strip() for line in lines}
    assert named == {"EXAMPLE_LIMIT", "INTERNAL_PORT", "LOG_LEVEL", "EXAMPLE_URL"}
    assert "EXAMPLE_URL: is not set" in str(fault.value)


def test_secrets_are_never_shown() -> None:
    settings = Example.from_env(GOOD)
    assert "hunter2" not in repr(settings) + str(settings)
    with pytest.raises(SettingsError) as fault:
        Example.from_env({**GOOD, "EXAMPLE_LIMIT": "hunter2"})
    assert "hunter2" not in str(fault.value)


@pytest.mark.parametrize("brokers", ["here", "here:abc", "here:0", "here:70000", ":9092", ",", "a:1,,b:2", "a:1,b"])
def test_malformed_brokers_are_rejected(brokers: str) -> None:
    with pytest.raises(SettingsError, match=r"KAFKA_BOOTSTRAP_SERVERS: .*host:port"):
        KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": brokers})


@pytest.mark.parametrize("brokers", ["here:9092", "a:1,b:2", "[::1]:9092"])
def test_brokers_are_hosts_with_ports(brokers: str) -> None:
    assert KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": brokers}).bootstrap_servers == brokers


class Bounds(EnvSettings):
    pause_s: Seconds = Field(1.0, alias="PAUSE_S")
    redis_url: RedisUrl = Field(LOCAL_REDIS, alias="REDIS_URL")


@pytest.mark.parametrize("pause", ["inf", "nan", "0", "-1", "1e-9", "1e9", "soon"])
def test_time_is_positive_and_finite(pause: str) -> None:
    with pytest.raises(SettingsError, match="PAUSE_S"):
        Bounds.from_env({"PAUSE_S": pause})


@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@h/0",
        "redis://:hunter2@",
        "redis://:hunter2@h:x/0",
        "redis://:hunter2@h:99999/0",
        "redis://:hunter2@h/0?socket_timeout=abc",
        "redis://:hunter2@h/abc",
        "redis://:hunter2@h/0/1",
    ],
)
def test_malformed_redis_url_is_rejected_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL") as fault:
        Bounds.from_env({"REDIS_URL": url})
    assert "hunter2" not in str(fault.value)


def test_placeholder_is_rejected() -> None:
    with pytest.raises(SettingsError, match="EXAMPLE_PASSWORD"):
        Example.from_env({**GOOD, "EXAMPLE_PASSWORD": PLACEHOLDER})


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Example.from_env(GOOD).limit = 6  # type: ignore[misc]  # that is the point


def test_every_field_of_the_shared_settings_has_a_variable() -> None:
    for shared in (ProcessSettings, KafkaSettings):
        assert issubclass(shared, EnvSettings)
        assert all(variable.isupper() for variable in shared.variables())


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("::1", True),
        ("127.0.0.1.evil.example", False),
        ("0.0.0.0", False),
        ("", False),
        ("localhost.evil.example", False),
    ],
)
def test_loopback_accepts_this_machine_only(host: str, *, local: bool) -> None:
    assert is_loopback(host) is local


TILES = "https://tiles.example.org/{z}/{x}/{y}.png"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("", ""),
        (TILES, "https://tiles.example.org"),
        ("https://Tiles.Example.org:8443/{z}/{x}/{y}?key=1", "https://tiles.example.org:8443"),
    ],
)
def test_tiles_host_is_the_source_for_the_policy(url: str, host: str) -> None:
    settings = MapSettings.from_env({"MAP_TILES_URL": url, "MAP_TILES_ATTRIBUTION": "Example"})
    assert tiles_host(settings.map_tiles_url) == host


@pytest.mark.parametrize(
    "url",
    [
        "http://tiles.example.org/{z}/{x}/{y}.png",
        "https://tiles.example.org/{z}/{x}.png",
        "https://{s}.tiles.example.org/{z}/{x}/{y}.png",
        "https://tiles.example.org/{z}/{x}/{y}{r}.png",
        "https://user@tiles.example.org/{z}/{x}/{y}.png",
        "https://tiles.example.org;script-src */{z}/{x}/{y}.png",
        "https://tiles.example.org:port/{z}/{x}/{y}.png",
        "https:///{z}/{x}/{y}.png",
        "{z}/{x}/{y}",
    ],
)
def test_tiles_url_is_rejected_when_malformed(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^these settings are missing or wrong:\n  MAP_TILES_URL: "):
        MapSettings.from_env({"MAP_TILES_URL": url, "MAP_TILES_ATTRIBUTION": "Example"})


def test_tiles_without_attribution_are_rejected() -> None:
    with pytest.raises(SettingsError, match="MAP_TILES_ATTRIBUTION is not set"):
        MapSettings.from_env({"MAP_TILES_URL": TILES})


@pytest.mark.parametrize(
    "url", ["ftp://x", "https://www1.example.com/static", "www1.example.com", "https://a;b", "https://a b"]
)
def test_assets_url_that_is_not_an_origin_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(SettingsError, match=r"ASSETS_URL: .* is not an origin.* like https://www1\.example\.com"):
        PageSettings.from_env({"ASSETS_URL": url})


@pytest.mark.parametrize("url", ["", "https://www1.example.com", "http://127.0.0.1:8080"])
def test_assets_url_is_an_origin_or_empty(url: str) -> None:
    assert PageSettings.from_env({"ASSETS_URL": url}).assets_url == url
