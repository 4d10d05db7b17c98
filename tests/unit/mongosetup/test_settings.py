import pytest

from services.backbone.settings import SettingsError
from services.mongosetup.settings import Settings


def test_members_are_separated_by_commas() -> None:
    found = Settings.from_env({"MONGOSETUP_MEMBERS": "mongo-0.mongo:27017, mongo-1.mongo:27017"})
    assert found.members == ("mongo-0.mongo:27017", "mongo-1.mongo:27017")


@pytest.mark.parametrize("members", ["mongo", "mongodb://mongo:27017", "mongo:27017/db", "a:1 b:1", "user@mongo:1"])
def test_member_that_is_no_address_is_rejected(members: str) -> None:
    with pytest.raises(SettingsError, match="MONGOSETUP_MEMBERS: must be host:port"):
        Settings.from_env({"MONGOSETUP_MEMBERS": members})


def test_member_must_not_be_there_twice() -> None:
    with pytest.raises(SettingsError, match="contains a member twice"):
        Settings.from_env({"MONGOSETUP_MEMBERS": "a:1,b:1,a:1"})
