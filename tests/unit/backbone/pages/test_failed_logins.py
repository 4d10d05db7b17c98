import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.pages.failed_logins import EXPIRY_S, FREE_FAILURES, LONGEST_WAIT_S, FailedLogins, source_of


def failed(times: int, *, at_s: float = 0.0) -> FailedLogins:
    logins = FailedLogins()
    for _ in range(times):
        logins.record("192.0.2.7", at_s)
    return logins


@pytest.mark.parametrize(
    ("times", "wait_s"), [(0, 0), (FREE_FAILURES - 1, 0), (FREE_FAILURES, 1), (FREE_FAILURES + 3, 8), (5000, 60)]
)
def test_delay_doubles_after_the_free_failures_up_to_the_maximum(times: int, wait_s: float) -> None:
    logins = failed(times)
    assert logins.wait_s("192.0.2.7", 0.0) == wait_s
    assert logins.wait_s("192.0.2.7", wait_s + 0.01) == 0
    assert logins.wait_s("192.0.2.8", 0.0) == 0


def test_failures_of_a_source_expire() -> None:
    logins = failed(20)
    logins.record("192.0.2.7", EXPIRY_S + 1)
    assert logins.wait_s("192.0.2.7", EXPIRY_S + 1) == 0


def test_one_source_can_make_few_guesses_in_an_hour() -> None:
    logins, guesses, now_s = FailedLogins(), 0, 0.0
    while now_s < 3600:
        now_s += logins.wait_s("192.0.2.7", now_s) or 0.001
        logins.record("192.0.2.7", now_s)
        guesses += 1
    assert guesses < 3600 / LONGEST_WAIT_S + 12


def test_source_with_the_oldest_failure_is_removed_above_the_limit() -> None:
    logins = FailedLogins(most_addresses=100)
    for number in range(10_000):
        logins.record(f"source {number}", 0.0)
        for _ in range(FREE_FAILURES):
            logins.record("kept", 0.0)
    assert len(logins._failures) == 100
    assert logins.wait_s("kept", 0.0) == LONGEST_WAIT_S


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unknown", ""),
    ],
)
def test_source_is_an_ipv4_address_or_the_64_of_an_ipv6_address(address: str, source: str) -> None:
    assert source_of(address) == source


@given(st.text())
def test_source_of_any_text_is_short(text: str) -> None:
    assert len(source_of(text)) < 64
