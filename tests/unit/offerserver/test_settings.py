import pytest

from services.backbone.settings import SettingsError
from services.offerserver.settings import UTC, OfferPagesSettings, Settings


def test_defaults_are_valid() -> None:
    settings = Settings.from_env({})
    assert settings.area == (52.52, 13.405, 25)
    assert settings.zone == UTC


def test_zone_of_the_schedule_is_utc_whatever_that_of_others_is() -> None:
    assert Settings.from_env({"SCHEDULE_ZONE": "Asia/Tokyo"}).zone == UTC


@pytest.mark.parametrize(
    "area", ["Berlin", "52,13", "91,0,5", "52,181,5", "52,13,0", "52,13,201", "nan,13,5", "1,2,3,4"]
)
def test_invalid_area_is_refused(area: str) -> None:
    with pytest.raises(SettingsError, match="OFFERS_AREA: must be latitude, longitude and 1 to 200 km"):
        Settings.from_env({"OFFERS_AREA": area})


def test_contact_is_a_part_of_the_user_agent() -> None:
    settings = Settings.from_env({"OFFERS_CONTACT": "https://push.example/"})
    assert settings.user_agent == "push-offers (+https://push.example/)"
    assert Settings.from_env({"OFFERS_CONTACT": "you@example.org"}).contact == "you@example.org"


@pytest.mark.parametrize("contact", ["two words\r\nX: y", "me", "ftp://push.example/", "@example.org"])
def test_contact_that_is_neither_a_url_nor_an_address_is_refused(contact: str) -> None:
    with pytest.raises(SettingsError, match="OFFERS_CONTACT"):
        Settings.from_env({"OFFERS_CONTACT": contact})


def test_pages_without_a_password_are_on_loopback_only() -> None:
    with pytest.raises(SettingsError, match="OFFERS_PASSWORD is not set"):
        OfferPagesSettings.from_env({"OFFERS_HOST": "0.0.0.0"})
    assert OfferPagesSettings.from_env({}).host == "127.0.0.1"


def test_user_has_no_colon() -> None:
    with pytest.raises(SettingsError, match="OFFERS_USER must not contain a colon"):
        Settings.from_env({"OFFERS_USER": "a:b"})
