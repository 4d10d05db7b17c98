"""The time zones of an iCalendar document (RFC 5545, 3.6.5): only those that are computed in a short time.

icalendar and dateutil compute every onset of a time zone, from the first one on. With FREQ=SECONDLY this takes hours.
"""

import datetime as dt
import re
from calendar import monthrange
from typing import Final

from icalendar.timezone.zoneinfo import ZONEINFO

from services.offerserver.importers.calendar_text import ComponentText, property_name

MOST_ZONES: Final = 50
"""The most time zones of a document."""
MOST_RULE_YEARS: Final = 500
"""The most years of all rules of a time zone."""
MOST_DATES: Final = 500
"""The most onsets of a time zone that are listed instead of computed: two for each of 250 years."""
_MOST_CHARACTERS: Final = 200
"""The most characters of a TZID."""
_FIRST_YEAR: Final = 1972
"""Rules begin in this leap year at the earliest. Many calendars let them begin in 1601 or in the year 1."""
_LAST: Final = "21000101T000000Z"
"""Rules end here at the latest."""
_NEEDED: Final = frozenset({"BEGIN", "END", "DTSTART", "TZOFFSETFROM", "TZOFFSETTO", "TZNAME", "RRULE", "RDATE"})
_DAY: Final = "(MO|TU|WE|TH|FR|SA|SU)"
_TWO_DIGITS: Final = "[0-9]{1,2}"
_RULE_PARTS: Final = {
    "FREQ": "YEARLY",
    "INTERVAL": "1",
    "BYMONTH": "0?[1-9]|1[0-2]",
    "BYDAY": f"([+-]?[1-5])?{_DAY}",
    "BYMONTHDAY": f"-?{_TWO_DIGITS}(,-?{_TWO_DIGITS}){{0,30}}",
    "BYHOUR": _TWO_DIGITS,
    "BYMINUTE": _TWO_DIGITS,
    "BYSECOND": _TWO_DIGITS,
    "UNTIL": "[0-9]{8}(T[0-9]{6}Z?)?",
    "WKST": _DAY,
}
"""The parts that a rule may have, as regular expressions."""


class KnownZones(ZONEINFO):
    """Finds the time zones of the tz database for icalendar.

    zoneinfo opens any TZID as a file, and imports its directories as packages: `Europe` raises OSError, and a TZID of
    1000 slashes RecursionError. icalendar looks up each suffix of a TZID.
    """

    def timezone(self, name: str) -> dt.tzinfo | None:
        if len(name) > _MOST_CHARACTERS:
            raise ValueError(f"a TZID has more than {_MOST_CHARACTERS} characters")
        return super().timezone(name) if self.knows_timezone_id(name) else None


def computable(zone: ComponentText) -> ComponentText:
    """Return a time zone with the lines that are needed, and with rules from 1972 to 2099.

    Raise ValueError if it can't be computed in a short time: a rule has several onsets a year, or there are too many.
    """
    names, parts = _parts(zone.lines)
    dates = sum(line.count(",") + 1 for part in parts for line in part if property_name(line) in ("DTSTART", "RDATE"))
    if dates > MOST_DATES:
        raise ValueError(f"has {dates} onsets, more than {MOST_DATES}")
    limited = [_limited(part) for part in parts]
    years = sum(years for _, years in limited)
    if years > MOST_RULE_YEARS:
        raise ValueError(f"has rules for {years} years, more than {MOST_RULE_YEARS}")
    return ComponentText(zone.name, [*names[:1], *(line for lines, _ in limited for line in lines)])


def _parts(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    """Return the lines with the TZID, and the needed lines of each STANDARD and DAYLIGHT part."""
    names: list[str] = []
    parts: list[list[str]] = []
    is_open = False
    for line in lines:
        name = property_name(line)
        if (name == "BEGIN" and is_open) or (name == "END" and not is_open):
            raise ValueError("has a STANDARD or DAYLIGHT part without a begin or an end")
        if name == "BEGIN":
            parts.append([])
            is_open = True
        if is_open and name in _NEEDED:
            parts[-1].append(line)
        elif name == "TZID":
            names.append(line)
        is_open = is_open and name != "END"
    return names, parts


def _limited(part: list[str]) -> tuple[list[str], int]:
    """Return the lines of a part with a rule that begins late and ends, and the number of its years."""
    begins = [line for line in part if property_name(line) == "DTSTART"]
    rules = [line for line in part if property_name(line) == "RRULE"]
    if len(begins) != 1 or len(rules) > 1:
        raise ValueError("has a part without DTSTART, or with several rules")
    if not rules:
        return part, 0
    rule = _rule(rules[0].partition(":")[2])
    begin = begins[0].rpartition(":")[2].strip()
    last = int(rule["UNTIL"][:4])
    if int(begin[:4]) < _FIRST_YEAR <= last:
        begin = f"{_FIRST_YEAR}{begin[4:]}"
    others = [line for line in part[1:] if line not in (*begins, *rules)]
    text = ";".join(f"{name}={values}" for name, values in rule.items())
    return [part[0], f"DTSTART:{begin}", f"RRULE:{text}", *others], max(1, last - int(begin[:4]))


def _rule(value: str) -> dict[str, str]:
    """Return the parts of a rule that ends. Raise ValueError unless it has one or a few onsets in a year."""
    pairs = (part.partition("=") for part in value.upper().strip().split(";") if part)
    parts = {name: values for name, _, values in pairs}
    for name, values in parts.items():
        if name not in _RULE_PARTS or not re.fullmatch(_RULE_PARTS[name], values):
            raise ValueError(f"has a rule with {name}={values}")
    if "FREQ" not in parts:
        raise ValueError("has a rule without FREQ")
    if "BYMONTH" not in parts and ("BYDAY" in parts or "BYMONTHDAY" in parts):
        raise ValueError("has a rule with days of every month")
    if "BYMONTHDAY" in parts and not _has_days(parts):
        raise ValueError("has a rule without an onset")  # dateutil searches it up to the year 9999, beyond UNTIL
    return {**parts, "UNTIL": min(parts.get("UNTIL", _LAST), _LAST)}


def _has_days(parts: dict[str, str]) -> bool:
    """Return whether the month of a rule has one of its days."""
    most = monthrange(2000, int(parts["BYMONTH"]))[1]
    days = (abs(int(day)) for day in parts["BYMONTHDAY"].split(","))
    return any(1 <= day <= most for day in days) and len(parts.get("BYDAY", "")) <= len("SU")
