"""The clock of the loops and routes. Tests give their own function instead."""

import time


def clock_ms() -> int:
    """Return the time in ms since 1970."""
    return time.time_ns() // 1_000_000
