import pytest

from services.storage.core.access import Caller, is_device

SERVICE = Caller("service")
PHONE = Caller("app")
OWNER = Caller("app", "device")


@pytest.mark.parametrize(
    ("caller", "has_token", "may_create"),
    [
        (SERVICE, True, True),
        (OWNER, True, True),
        (PHONE, False, True),
        (PHONE, True, False),
        (Caller("app", "other"), True, False),
    ],
)
def test_owner_with_a_token_is_protected_from_creations_without_it(
    caller: Caller, *, has_token: bool, may_create: bool
) -> None:
    assert caller.may_create("device", has_token=has_token) is may_create


def test_only_services_and_the_owner_may_change() -> None:
    assert SERVICE.may_change("device")
    assert OWNER.may_change("device")
    assert not PHONE.may_change("device")
    assert not OWNER.may_change("other")


def test_service_acts_for_an_owner_only_if_it_asks_for_this_owner() -> None:
    assert SERVICE.acts_for("device", "device")
    assert not SERVICE.acts_for("device", None)
    assert not SERVICE.acts_for("device", "other")


def test_phone_acts_for_the_owner_of_its_token_whatever_it_asks_for() -> None:
    assert OWNER.acts_for("device", None)
    assert not OWNER.acts_for("other", "other")
    assert not PHONE.acts_for("device", "device")


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("0123456789abcdef", True),
        ("0123456789ABCDEF", False),
        ("0123456789abcde", False),
        ("0123456789abcdef\n", False),
    ],
)
def test_device_has_16_lowercase_hexadecimal_digits(owner: str, *, expected: bool) -> None:
    assert is_device(owner) is expected
