import pytest

from services.backbone.settings import SettingsError
from services.imageserver.settings import Settings

PASSWORD = "a secret of the test"


def test_nothing_is_required_on_loopback() -> None:
    assert Settings.from_env({}).port == 5061


@pytest.mark.parametrize(
    ("environ", "error"),
    [
        ({"IMAGESERVER_HOST": "0.0.0.0"}, "IMAGESERVER_PASSWORD is not set"),
        ({"IMAGESERVER_PASSWORD": "short"}, "IMAGESERVER_PASSWORD"),
        ({"IMAGESERVER_USER": "a:b"}, "must not contain a colon"),
        (
            {"IMAGESERVER_USER": "app", "IMAGESERVER_PASSWORD": PASSWORD, "IMAGESERVER_APP_PASSWORD": PASSWORD},
            "IMAGESERVER_APP_USER another name",
        ),
        ({"IMAGESERVER_APP_PASSWORD": PASSWORD}, "needs IMAGESERVER_PASSWORD"),
    ],
)
def test_wrong_setting_is_named(environ: dict[str, str], error: str) -> None:
    with pytest.raises(SettingsError, match=error):
        Settings.from_env(environ)
