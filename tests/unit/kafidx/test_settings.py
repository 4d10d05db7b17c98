import pytest

from services.backbone.settings import SettingsError
from services.kafidx.settings import Settings

LONG = "hunter2 and more"


def test_settings_have_defaults_for_local_use() -> None:
    settings = Settings.from_env({})
    assert (settings.host, settings.port, settings.password) == ("127.0.0.1", 5031, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "kafidx.example.org"])
def test_host_must_be_loopback_when_no_password_is_set(host: str) -> None:
    with pytest.raises(SettingsError, match="KAFIDX_PASSWORD is not set"):
        Settings.from_env({"KAFIDX_HOST": host})
    assert Settings.from_env({"KAFIDX_HOST": host, "KAFIDX_PASSWORD": LONG}).host == host


def test_placeholder_and_user_with_a_colon_are_refused_without_showing_the_password() -> None:
    with pytest.raises(SettingsError, match="KAFIDX_PASSWORD still <generate>"):
        Settings.from_env({"KAFIDX_PASSWORD": "<generate>"})
    with pytest.raises(SettingsError, match="colon") as error:
        Settings.from_env({"KAFIDX_USER": "a:b", "KAFIDX_PASSWORD": LONG})
    assert LONG not in str(error.value)
    assert LONG not in repr(Settings.from_env({"KAFIDX_PASSWORD": LONG}))


def test_short_password_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match="KAFIDX_PASSWORD: has fewer than 12 characters: choose a longer") as error:
        Settings.from_env({"KAFIDX_PASSWORD": "hunter2-789"})
    assert "hunter2" not in str(error.value)
    assert Settings.from_env({"KAFIDX_PASSWORD": "hunter2-7890"}).password is not None


def test_trusted_proxies_are_networks() -> None:
    settings = Settings.from_env({"TRUSTED_PROXIES": "10.0.0.1/8, ::1"})
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES: must be networks separated by commas"):
        Settings.from_env({"TRUSTED_PROXIES": "10.0.0.0/8,nonsense"})


def test_trackers_are_urls_of_internal_ports() -> None:
    assert Settings.from_env({}).trackers == ()
    settings = Settings.from_env({"KAFIDX_TRACKERS": "http://tracker:9464/, http://[::1]:9464"})
    assert settings.trackers == ("http://tracker:9464", "http://[::1]:9464")


@pytest.mark.parametrize(
    "url", ["tracker:9464", "https://t:1", "http://t", "http://t:x", "http://u:p@t:1", "http://t:1/x", "http://t:1?a=1"]
)
def test_other_addresses_of_trackers_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"KAFIDX_TRACKERS: .* Write it like http://tracker:9464"):
        Settings.from_env({"KAFIDX_TRACKERS": url})
