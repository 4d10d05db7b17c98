import pytest

from services.backbone.settings import SettingsError
from services.kafidx.settings import Settings, is_loopback


def test_defaults_are_for_local_use() -> None:
    settings = Settings.from_env({})
    assert (settings.host, settings.port, settings.password) == ("127.0.0.1", 5031, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "kafidx.example.org"])
def test_without_a_password_it_starts_on_loopback_only(host: str) -> None:
    with pytest.raises(SettingsError, match="KAFIDX_PASSWORD is not set"):
        Settings.from_env({"KAFIDX_HOST": host})
    assert Settings.from_env({"KAFIDX_HOST": host, "KAFIDX_PASSWORD": "x"}).host == host


def test_the_placeholder_and_a_user_with_a_colon_are_refused_and_no_password_is_shown() -> None:
    with pytest.raises(SettingsError, match="KAFIDX_PASSWORD still <generate>"):
        Settings.from_env({"KAFIDX_PASSWORD": "<generate>"})
    with pytest.raises(SettingsError, match="colon") as fault:
        Settings.from_env({"KAFIDX_USER": "a:b", "KAFIDX_PASSWORD": "hunter2"})
    assert "hunter2" not in str(fault.value)
    assert "hunter2" not in repr(Settings.from_env({"KAFIDX_PASSWORD": "hunter2"}))


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
def test_loopback_is_this_machine_and_nothing_that_only_looks_like_it(host: str, *, local: bool) -> None:
    assert is_loopback(host) is local
