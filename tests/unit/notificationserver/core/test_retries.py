import pytest

from services.notificationserver.core.retries import ATTEMPTS, PAUSES_S, next_attempt_ms, parse_retry_after

NOW_MS = 1_795_000_000_000


def test_ten_attempts_are_made() -> None:
    assert ATTEMPTS == 10
    assert next_attempt_ms(ATTEMPTS - 1, now_ms=NOW_MS, unit=0.5) == NOW_MS + 86_400_000
    assert next_attempt_ms(ATTEMPTS, now_ms=NOW_MS, unit=0.5) is None


@pytest.mark.parametrize("attempts", range(1, 10))
def test_pause_is_spread_by_a_fifth_in_both_directions(attempts: int) -> None:
    for unit, factor in ((0.0, 0.8), (0.5, 1.0), (1.0, 1.2)):
        at_ms = next_attempt_ms(attempts, now_ms=NOW_MS, unit=unit)
        assert at_ms == NOW_MS + round(1000 * PAUSES_S[attempts] * factor)


@pytest.mark.parametrize(("asked_s", "pause_s"), [(3.0, 5.0), (60.0, 60.0), (3_600.0, 3_600.0), (9_999.0, 3_600.0)])
def test_retry_after_makes_the_pause_longer_up_to_an_hour(asked_s: float, pause_s: float) -> None:
    at_ms = next_attempt_ms(1, now_ms=NOW_MS, unit=0.5, retry_after_s=asked_s)
    assert at_ms == NOW_MS + round(1000 * pause_s)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Wed, 18 Nov 2026 09:47:40 GMT", 1_794_995_260.0 - NOW_MS / 1000),
        ("Fri, 01 Jan 2027 00:00:00 GMT", 1_798_761_600.0 - NOW_MS / 1000),
        ("soon", None),
        ("-1", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str | None, expected: float | None) -> None:
    assert parse_retry_after(header, now_ms=NOW_MS) == (None if expected is None else max(0.0, expected))
