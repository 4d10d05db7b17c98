import pytest

from services.backbone.settings import SettingsError
from services.consumers.settings import PagesProcessSettings, Settings, WorkerSettings


def test_defaults_need_no_environment() -> None:
    settings = Settings.from_env({})
    assert (settings.max_labels, settings.poll_events) == (200_000, 5000)
    assert settings.counters_redis_url.get_secret_value() == "redis://127.0.0.1:6379/0"


def test_all_errors_are_reported_together_without_passwords() -> None:
    environ = {
        "COUNTERS_REDIS_URL": "http://:hunter2@redis",
        "CONSUMERS_MAX_LABELS": "12",
        "CONSUMERS_POLL_EVENTS": "many",
        "CONSUMERS_GIVE_UP_S": "0",
    }
    with pytest.raises(SettingsError) as error:
        Settings.from_env(environ)
    for variable in environ:
        assert variable in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "hunter2" not in repr(Settings.from_env({"COUNTERS_REDIS_URL": "redis://:hunter2@redis:6379/0"}))


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"ACTIONS_VISIBILITY_TIMEOUT_S": "59"}, "ACTIONS_VISIBILITY_TIMEOUT_S must be at least twice"),
        ({"ACTIONS_SOFT_TIME_LIMIT_S": "30"}, "ACTIONS_SOFT_TIME_LIMIT_S must be less"),
        ({"CONSUMERS_USER": "a:b"}, "CONSUMERS_USER must not contain a colon"),
    ],
)
def test_settings_that_contradict_each_other_are_rejected(environ: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        Settings.from_env(environ)


@pytest.mark.parametrize(
    ("environ", "silence_s"),
    [({}, 90), ({"ACTIONS_PING_S": "300"}, 380), ({"ACTIONS_TIME_LIMIT_S": "50", "ACTIONS_PING_S": "1"}, 121)],
)
def test_worker_is_not_silent_while_a_ping_waits_for_two_actions(environ: dict[str, str], silence_s: float) -> None:
    assert Settings.from_env(environ).silence_s == silence_s


def test_only_the_pages_need_a_password() -> None:
    environ = {"CONSUMERS_HOST": "0.0.0.0"}
    assert WorkerSettings.from_env(environ)
    with pytest.raises(SettingsError, match="CONSUMERS_PASSWORD is not set"):
        PagesProcessSettings.from_env(environ)


def test_only_the_worker_needs_the_token_of_the_chat_provider() -> None:
    environ = {"SENDBIRD_APP_ID": "A1B2"}
    assert Settings.from_env(environ)
    with pytest.raises(SettingsError, match="SENDBIRD_API_TOKEN is not set"):
        WorkerSettings.from_env(environ)


@pytest.mark.parametrize(
    ("environ", "off"),
    [
        ({}, {"chatbot": "SENDBIRD_APP_ID is not set", "geonames": "GEONAMES_USER is not set"}),
        ({"GEONAMES_USER": "push"}, {"chatbot": "SENDBIRD_APP_ID is not set"}),
        ({"SENDBIRD_APP_ID": "A1B2", "GEONAMES_USER": "push"}, {}),
    ],
)
def test_consumer_without_credentials_is_off(environ: dict[str, str], off: dict[str, str]) -> None:
    assert Settings.from_env(environ).off == off
