"""The values of an event of an iCalendar document (RFC 5545), and whether it can be imported."""

import datetime as dt
import math
from typing import Any, Final

import icalendar

from services.offerserver.core.values import InvalidRow

_FREQUENCIES: Final = frozenset({"DAILY", "WEEKLY", "MONTHLY", "YEARLY"})
_FINER_PARTS: Final = ("BYHOUR", "BYMINUTE", "BYSECOND")
_SINGLE: Final = ("DTSTART", "DTEND", "DURATION", "RECURRENCE-ID")
_CHECKED: Final = frozenset({*_SINGLE, "RRULE", "RDATE", "EXDATE"})
_MONTH_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EARLIEST_YEAR: Final = 1990
"""A series is computed from its begin on."""


def check_event(event: Any) -> None:
    """Raise InvalidRow if an event can't be imported."""
    broken = {name for name, _ in event.errors if name in _CHECKED}
    if broken:
        raise InvalidRow(min(broken), "", "is malformed")
    if not text_of(event, "UID"):
        raise InvalidRow("UID", text_of(event, "SUMMARY"), "is missing")
    if "DTSTART" not in event:
        raise InvalidRow("DTSTART", "", "is missing")
    for name in _SINGLE:
        if isinstance(event.get(name), list):
            raise InvalidRow(name, "", "must occur once")
        kind = dt.timedelta if name == "DURATION" else dt.date
        if name in event and not isinstance(event[name].dt, kind):
            raise InvalidRow(name, "", "is of another type")
    _check_rules(event)


def _check_rules(event: Any) -> None:
    """Raise InvalidRow if the series of an event can't be computed in a short time."""
    rules = _listed(event.get("RRULE"))
    if len(rules) > 1:
        raise InvalidRow("RRULE", "", "must occur once")
    for rule in rules:
        if reason := _rule_fault(rule):
            raise InvalidRow("RRULE", rule.to_ical().decode(), reason)
        if event["DTSTART"].dt.year < _EARLIEST_YEAR:
            raise InvalidRow("DTSTART", str(event["DTSTART"].dt), f"a series must begin after {_EARLIEST_YEAR}")


def _rule_fault(rule: Any) -> str:
    """Return why a rule is not computed: it never ends, or takes long without an occurrence. Empty: it is."""
    frequency = str(next(iter(rule.get("FREQ", ())), ""))
    if frequency not in _FREQUENCIES or any(len(rule.get(part, ())) > 1 for part in _FINER_PARTS):
        return "is finer than daily"
    if any(int(interval) < 1 for interval in rule.get("INTERVAL", ())):
        return "has an interval below 1"
    if frequency == "DAILY" and "BYSETPOS" in rule:
        return "has BYSETPOS, which a daily series can't have"
    months = [int(month) for month in rule.get("BYMONTH", range(1, 13))]
    if not all(1 <= month <= len(_MONTH_DAYS) for month in months):
        return "has a month that no year has"
    most = max((_MONTH_DAYS[month - 1] for month in months), default=0)
    if "BYMONTHDAY" in rule and not any(1 <= abs(int(day)) <= most for day in rule["BYMONTHDAY"]):
        return "has a day that none of its months has"
    return ""


def sequence_of(event: Any) -> int:
    """Return the number of the version of an event, 0 if it has none that can be read."""
    return max((int(each) for each in _listed(event.get("SEQUENCE")) if isinstance(each, int)), default=0)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def text_of(event: Any, name: str) -> str:
    """Return the first value of a property, empty if it has none."""
    found = event.get(name)
    return str(found[0] if isinstance(found, list) and found else found or "")


def categories_of(event: Any) -> list[str]:
    """Return the categories of all lines of an event."""
    found = (each for each in _listed(event.get("CATEGORIES")) if isinstance(each, icalendar.vCategory))
    return [str(word) for each in found for word in each.cats]


def point_of(event: Any) -> tuple[float, float] | None:
    """Return the latitude and longitude of an event, None if they are missing or malformed."""
    found = event.get("GEO")
    if not isinstance(found, icalendar.vGeo):
        return None
    point = (float(found.latitude), float(found.longitude))
    return point if all(map(math.isfinite, point)) else None
