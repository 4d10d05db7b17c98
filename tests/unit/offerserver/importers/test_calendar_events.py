from typing import Any

import icalendar
import pytest

from services.offerserver.core.values import InvalidRow
from services.offerserver.importers.calendar_events import categories_of, check_event, point_of, sequence_of, text_of


def event(*lines: str) -> Any:
    usual = ("BEGIN:VEVENT", "UID:one", "DTSTART:20261010T180000Z")
    return icalendar.Event.from_ical("\r\n".join([*usual, *lines, "END:VEVENT", ""]))


@pytest.mark.parametrize("rule", ["FREQ=DAILY", "FREQ=MONTHLY;BYDAY=1SU", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29"])
def test_event_with_one_rule_is_accepted(rule: str) -> None:
    check_event(event(f"RRULE:{rule}"))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["RRULE:FREQ=DAILY", "RRULE:FREQ=DAILY"], "must occur once"),
        (["RRULE:FREQ=HOURLY"], "is finer than daily"),
        (["RRULE:FREQ=OFTEN"], "is malformed"),
        (["DTEND:20261010T190000Z", "DTEND:20261010T190000Z"], "must occur once"),
    ],
)
def test_event_that_takes_long_or_is_malformed_is_rejected(lines: list[str], reason: str) -> None:
    with pytest.raises(InvalidRow, match=reason):
        check_event(event(*lines))


def test_values_of_several_lines_are_read() -> None:
    found = event("SUMMARY:A", "SUMMARY:B", "CATEGORIES:a,b", "CATEGORIES:c", "SEQUENCE:1", "SEQUENCE:3", "GEO:1;2")
    assert text_of(found, "SUMMARY") == "A"
    assert categories_of(found) == ["a", "b", "c"]
    assert (sequence_of(found), point_of(found)) == (3, (1.0, 2.0))


def test_malformed_values_are_missing() -> None:
    found = event("SEQUENCE:x", "GEO:nan;2")
    assert (text_of(found, "SUMMARY"), categories_of(found), sequence_of(found), point_of(found)) == ("", [], 0, None)
