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
