"""Numbers, distances, sizes and times as people read them, in English and German."""

from datetime import UTC, datetime
from typing import Final

_LOWEST_MS: Final = -62_135_596_800_000
_HIGHEST_MS: Final = 253_402_300_799_999
"""The years 1 to 9999, which `datetime` can hold."""
_NO_TIME: Final = "\N{EN DASH}"


def number(value: float, language: str = "en") -> str:
    """Return a number with its thousands grouped: `1,234.5` in English, `1.234,5` in German."""
    text = f"{value:,}"
    return text.translate(str.maketrans(",.", ".,")) if language == "de" else text


def distance(metres: float, language: str = "en") -> str:
    """Return a distance: `400 m` (to 10 m from 100 m on), `1.9 km` below 10 km, then `12 km`."""
    rounded = round(metres, -1) if metres >= 100 else round(metres)  # noqa: PLR2004 - see the docstring
    if rounded < 1000:  # noqa: PLR2004
        return f"{rounded:.0f} m"
    kilometres = round(metres / 1000, 1)
    return f"{number(kilometres if kilometres < 10 else round(kilometres), language)} km"  # noqa: PLR2004


def size(count: int, language: str = "en") -> str:
    """Return a number of bytes: `1 byte`, `512 bytes`, `12.3 kB` (1,000 bytes), `4.5 MB`."""
    if count < 1000:  # noqa: PLR2004
        return f"{count} byte{'' if count == 1 else 's'}"
    for unit, divisor in (("kB", 1e3), ("MB", 1e6)):
        if count / divisor < 999.95:  # noqa: PLR2004 - would be shown as 1,000
            return f"{number(round(count / divisor, 1), language)} {unit}"
    return f"{number(round(count / 1e9, 1), language)} GB"


def clock(ms: int) -> str:
    """Return ms since 1970 as `2026-01-31 12:00:00.000 UTC`, or a dash when it is outside of the years 1 to 9999."""
    if not _LOWEST_MS <= ms <= _HIGHEST_MS:
        return _NO_TIME
    whole, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%d %H:%M:%S}.{rest:03} UTC"


def ago(ms: int, now_ms: int) -> str:
    """Return the age of a time: `3 s ago`. It is rounded down and never negative, since clocks differ a little."""
    seconds = max(0, (now_ms - ms) // 1000)
    for unit, divisor, limit in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86_400)):
        if seconds < limit:
            return f"{seconds // divisor} {unit} ago"
    return f"{seconds // 86_400} d ago"
