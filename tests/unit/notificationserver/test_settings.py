import pytest

from services.backbone.settings import SettingsError
from services.notificationserver.settings import Settings


@pytest.mark.parametrize("name", ["Mars/Base", "Europe", "../Berlin", "Europe/Berlin "])
def test_unknown_time_zone_is_refused_at_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match="must be a time zone such as Europe/Berlin"):
        Settings.from_env({"NOTIFY_TIME_ZONE": name})


def test_known_time_zone_is_accepted() -> None:
    assert Settings.from_env({"NOTIFY_TIME_ZONE": "Europe/Vienna"}).time_zone == "Europe/Vienna"
    assert Settings.from_env({"NOTIFY_TIME_ZONE": ""}).time_zone == "Europe/Berlin"


@pytest.mark.parametrize("key", ["x", "AAAA", "A" * 44 + "*"])
def test_wrong_vapid_key_ends_the_start_and_is_not_in_the_error(key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({"VAPID_PRIVATE_KEY": key, "VAPID_SUBJECT": "mailto:operator@example.com"})
    (line,) = str(refused.value).splitlines()[-1:]
    assert line.strip().startswith("VAPID_PRIVATE_KEY: must be base64url of 32 bytes")
    assert f"{key!r}" not in str(refused.value)
