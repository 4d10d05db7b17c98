"""When a failed delivery is attempted again."""

import email.utils
from typing import Final

PAUSES_S: Final = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The pause before each attempt: at once, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h."""
ATTEMPTS: Final = len(PAUSES_S)
_SPREAD: Final = 0.2
_MOST_RETRY_AFTER_S: Final = 3_600.0


def next_attempt_ms(attempts: int, *, now_ms: int, unit: float, retry_after_s: float | None = None) -> int | None:
    """Return when to attempt a delivery again after `attempts` attempts; None if that was the last one.

    The pause is spread by 20 % in both directions; `unit` is a random number in [0, 1). The receiver's Retry-After
    makes it longer, up to an hour.
    """
    if attempts >= ATTEMPTS:
        return None
    pause_s = PAUSES_S[attempts] * (1.0 + _SPREAD * (2.0 * unit - 1.0))
    if retry_after_s is not None:
        pause_s = max(pause_s, min(retry_after_s, _MOST_RETRY_AFTER_S))
    return now_ms + round(1000.0 * pause_s)


def parse_retry_after(value: str | None, *, now_ms: int) -> float | None:
    """Return the seconds of a Retry-After header: a number of seconds or an HTTP date (RFC 9110); None for others."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:12]), 10**9))
    try:
        at = email.utils.parsedate_to_datetime(text)
        return max(0.0, at.timestamp() - now_ms / 1000.0)
    except (ValueError, TypeError, OverflowError):
        return None
