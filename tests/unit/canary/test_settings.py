import pytest

from services.backbone.settings import SettingsError
from services.canary.settings import Settings


def test_defaults_fit_one_machine() -> None:
    settings = Settings.from_env({})
    assert settings.tracker_url == "http://127.0.0.1:5222"
    assert (settings.interval_s, settings.late_s, settings.counter) == (10.0, 20.0, "event_counter")


def test_trailing_slash_of_the_url_is_removed() -> None:
    assert Settings.from_env({"CANARY_TRACKER_URL": "https://trk.example.org/t/"}).tracker_url.endswith("/t")


@pytest.mark.parametrize(
    "url",
    ["tracker:5222", "ftp://tracker", "http://", "http://tracker:port", "http://u:secret@tracker", "http://t?x=1"],
)
def test_malformed_url_is_rejected_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="CANARY_TRACKER_URL") as refused:
        Settings.from_env({"CANARY_TRACKER_URL": url})
    assert "secret" not in str(refused.value)


def test_lateness_is_bounded_by_the_interval() -> None:
    with pytest.raises(SettingsError, match="CANARY_LATE_S"):
        Settings.from_env({"CANARY_INTERVAL_S": "0.1", "CANARY_LATE_S": "3600"})
