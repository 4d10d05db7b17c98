import time

import pytest

from services.offerserver.importers.calendar_text import split_calendars


def lines(*parts: str) -> list[tuple[str, list[str]]]:
    text = "\r\n".join(["BEGIN:VCALENDAR", *parts, "END:VCALENDAR"])
    return [(each.name, each.lines) for components in split_calendars(text) for each in components]


def test_lines_are_unfolded() -> None:
    assert lines("BEGIN:VEVENT", "SUMMARY:A", "  concert", "END:VEVENT") == [("VEVENT", ["SUMMARY:A concert"])]


@pytest.mark.parametrize(
    "inner",
    [
        ("BEGIN:VALARM", "UID:two", "END:VALARM"),
        ("begin:valarm ", "UID:two", "End : VALARM"),
        ("BEGIN;X-A=1:VALARM", "UID:two", "E ND;X-A=1:VALARM"),
        ("BEGIN:X-A", "BEGIN:X-A", "UID:two", "END:X-A", "UID:three", "END:X-A"),
        ("BEGIN:X-A", "BEGIN:X-B", "UID:two", "END:X-A"),
        ("END:VALARM",),
    ],
)
def test_inner_component_of_an_event_is_left_out(inner: tuple[str, ...]) -> None:
    assert lines("BEGIN:VEVENT", "UID:one", *inner, "URL:x", "END:VEVENT") == [("VEVENT", ["UID:one", "URL:x"])]


def test_parts_of_a_time_zone_are_kept() -> None:
    own = ["TZID:Own", "BEGIN:STANDARD", "DTSTART:19700101T000000", "END:STANDARD"]
    assert lines("BEGIN:VTIMEZONE", *own, "BEGIN:X-A", "X:1", "END:X-A", "END:VTIMEZONE") == [("VTIMEZONE", own)]


def test_next_event_ends_an_event_without_an_end() -> None:
    assert lines("BEGIN:VEVENT", "UID:one", "BEGIN:VALARM", "BEGIN:VEVENT", "UID:two", "END:VEVENT") == [
        ("VEVENT", ["UID:one"]),
        ("VEVENT", ["UID:two"]),
    ]


def test_lines_outside_events_and_time_zones_are_left_out() -> None:
    assert lines("METHOD:PUBLISH", "BEGIN:VTODO", "UID:one", "END:VTODO", "X-A:1") == []


def test_value_is_that_of_the_property_without_its_parameters() -> None:
    text = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nUIDX:1\nuid;X-A=1:a:b\nUID:2\nEND:VEVENT\nEND:VCALENDAR"
    ((component,),) = split_calendars(text)
    assert (component.value("UID"), component.value("URL")) == ("a:b", "")


@pytest.mark.parametrize("line", ["BEGIN:X-A", "BEGIN:VALARM", "END:VALARM", "BEGIN:VEVENT", "\r\n", " "])
def test_deep_nesting_takes_linear_time(line: str) -> None:
    began = time.monotonic()
    split_calendars("\r\n".join(["BEGIN:VCALENDAR", "BEGIN:VEVENT", *(100_000 * [line])]))
    assert time.monotonic() - began < 5
