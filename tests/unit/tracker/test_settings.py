import pytest

from services.backbone.settings import SettingsError
from services.tracker.settings import Settings


def test_settings_have_defaults_for_empty_environment() -> None:
    settings = Settings.from_env({})
    assert (settings.host, settings.port, settings.max_event_bytes) == ("127.0.0.1", 5222, 262_144)
    assert settings.trusted_proxies == ()
    assert "di" in settings.person_parameters


def test_settings_lists_are_separated_by_commas() -> None:
    settings = Settings.from_env({"TRUSTED_PROXIES": "10.0.0.0/8, ::1", "TRACKER_PERSON_PARAMETERS": "a, b,"})
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert settings.person_parameters == ("a", "b")


def test_settings_report_all_errors_together_without_secrets() -> None:
    environ = {
        "TRACKER_PORT": "http",
        "REDIS_URL": "http://user:hunter2@redis",
        "TRUSTED_PROXIES": "10.0.0.0/8,nonsense",
        "MAX_EVENT_BYTES": "1",
        "TRACKER_PUSH_TIMEOUT_S": "0",
    }
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environ)
    message = str(caught.value)
    assert all(f"  {name}: " in message for name in environ)
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("bound", "part", "size"),
    [
        ("TRACKER_MAX_BODY_BYTES", "TRACKER_MAX_BATCH_BYTES", 100_000_000),
        ("TRACKER_MAX_BODY_BYTES", "MAX_EVENT_BYTES", 16_777_216),
        ("TRACKER_MAX_PENDING_BYTES", "TRACKER_MAX_BATCH_BYTES", 100_000_000),
        ("TRACKER_MAX_PENDING_EVENTS", "TRACKER_MAX_BATCH_EVENTS", 60_000),
    ],
)
def test_settings_refuse_total_limits_below_limits_of_one_request(bound: str, part: str, size: int) -> None:
    environ = {"TRACKER_MAX_BODY_BYTES": "200000000", "TRACKER_MAX_PENDING_BYTES": "200000000"}
    environ |= {"TRACKER_MAX_BUFFER_BYTES": "200000000", part: str(size)}
    environ |= {"TRACKER_MAX_BATCH_BYTES": "1024"} if part == "MAX_EVENT_BYTES" else {}
    Settings.from_env(environ | {bound: str(size)})
    with pytest.raises(SettingsError, match=rf"settings: .*{bound} \({size - 1}\) must be at least {part} \({size}\)"):
        Settings.from_env(environ | {bound: str(size - 1)})


@pytest.mark.parametrize("url", ["redis://h:port/0", "redis://h:99999/0"])
def test_settings_refuse_malformed_redis_url(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL"):
        Settings.from_env({"REDIS_URL": url})


def test_settings_do_not_show_password_of_url() -> None:
    assert "hunter2" not in repr(Settings.from_env({"REDIS_URL": "redis://:hunter2@h:6379/0"}))


@pytest.mark.parametrize(
    ("environ", "size"),
    [
        ({}, 8_388_608),
        ({"TRACKER_MAX_ADDRESS_CONNECTIONS": "9999"}, 67_108_864),
        ({"TRACKER_MAX_ADDRESS_CONNECTIONS": "1"}, 5 * 262_144 + 262_144),
    ],
)
def test_address_buffer_is_proportional_to_its_connections_and_fits_one_request(
    environ: dict[str, str], size: int
) -> None:
    assert Settings.from_env(environ).max_address_buffer_bytes == size


def test_settings_refuse_spool_smaller_than_a_batch() -> None:
    environ = {"TRACKER_SPOOL_BYTES": "1048576"}
    Settings.from_env(environ)  # no spool without a directory
    with pytest.raises(
        SettingsError, match=r"TRACKER_SPOOL_BYTES \(1048576\) must be at least TRACKER_MAX_BATCH_BYTES"
    ):
        Settings.from_env(environ | {"TRACKER_SPOOL_DIRECTORY": "/spool"})
