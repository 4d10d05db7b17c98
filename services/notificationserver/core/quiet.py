"""Quiet hours: a daily interval in the time zone of a device in which it gets no messages."""

import datetime as dt
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

DEFAULT_ZONE: Final = "Europe/Berlin"
_DAY: Final = dt.timedelta(days=1)
_SECOND: Final = dt.timedelta(seconds=1)
_MOST_TRANSITIONS: Final = 4


def until(
    now: dt.datetime, zone: str, start: dt.time, end: dt.time, *, default_zone: str = DEFAULT_ZONE
) -> dt.datetime | None:
    """Return when the quiet hours end that contain `now`, in UTC; None if `now` is outside of them.

    The hours are those of the wall clock: the result is the first instant from which the clock shows a time outside of
    [start, end). So a time that the clock skips ends them at the skip, and a time that it shows twice ends them once.
    If start equals end, there are no quiet hours. An unknown zone means the default one.
    """
    if start == end:
        return None
    clock = zone_of(zone, default_zone)
    moment = now.astimezone(dt.UTC)
    if not _is_inside(moment.astimezone(clock), start, end):
        return None
    for _ in range(_MOST_TRANSITIONS):
        following = moment + _time_until(moment.astimezone(clock), end)
        changed = _first_change(clock, moment, following)
        if changed is None:
            return following
        if not _is_inside(changed.astimezone(clock), start, end):
            return changed
        moment = changed
    return moment  # no zone changes its offset this often in a day


@lru_cache(maxsize=1024)
def zone_of(name: str, default_zone: str) -> dt.tzinfo:
    """Return the zone of a name, or the default one if there is no such zone."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # malformed, a directory, unknown (a KeyError)
        return ZoneInfo(default_zone)


def is_zone(name: str) -> bool:
    """Return whether there is a zone of this name."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True


def _is_inside(local: dt.datetime, start: dt.time, end: dt.time) -> bool:
    shown = local.time()
    return start <= shown < end if start < end else shown >= start or shown < end


def _time_until(local: dt.datetime, end: dt.time) -> dt.timedelta:
    """Return how long a clock without changes of its offset takes to show `end`: at most a day."""
    shown = dt.datetime.combine(local.date(), local.time())
    return (dt.datetime.combine(local.date(), end) - shown) % _DAY or _DAY


def _first_change(clock: dt.tzinfo, after: dt.datetime, by: dt.datetime) -> dt.datetime | None:
    """Return when the offset of a zone changes in (after, by]; None if it is the same at both."""
    offset = after.astimezone(clock).utcoffset()
    if by.astimezone(clock).utcoffset() == offset:
        return None
    low, high = after.replace(microsecond=0), by
    while high - low > _SECOND:  # changes are at full seconds
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if middle <= low:
            break
        if middle.astimezone(clock).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high
