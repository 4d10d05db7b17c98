"""The components of an iCalendar document (RFC 5545) that an import needs, as text.

icalendar ignores a malformed line only in an event. In any other component it raises ValueError for the whole document.
So each event and each time zone is parsed alone, and other components are not parsed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from icalendar.parser import Contentlines

_INNER: Final = {"VEVENT": frozenset[str](), "VTIMEZONE": frozenset({"STANDARD", "DAYLIGHT"})}
"""The components that are needed, and those inside them."""


@dataclass(frozen=True)
class ComponentText:
    """An event or a time zone: the lines between its BEGIN and its END."""

    name: str
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\r\n".join([f"BEGIN:{self.name}", *self.lines, f"END:{self.name}", ""])

    def value(self, name: str) -> str:
        """Return the first value of a property, empty if there is none."""
        for line in self.lines:
            if property_name(line) == name:
                return line.partition(":")[2]
        return ""


def property_name(line: str) -> str:
    """Return the name of the property of a line, in capitals and without spaces, as icalendar reads it."""
    return "".join(line.partition(":")[0].partition(";")[0].split()).upper()


def split_calendars(text: str) -> list[list[ComponentText]]:
    """Return the events and time zones of each calendar of a document, without alarms and other components inside.

    The begin or end of an event, a time zone or a calendar ends all components that are open. It takes linear time.
    """
    calendars: list[list[ComponentText]] = [[]]
    lines: list[str] = []
    for line in Contentlines.from_ical(text):  # type: ignore[no-untyped-call]
        bound, name = _bound(line)
        if name not in _INNER and name != "VCALENDAR":
            lines.append(line)
            continue
        lines = []
        if bound == "BEGIN" and name == "VCALENDAR":
            calendars.append([])
        elif bound == "BEGIN":
            calendars[-1].append(ComponentText(name, lines))
    return [[ComponentText(each.name, list(_needed(each))) for each in parts] for parts in calendars if parts]


def _needed(component: ComponentText) -> Iterator[str]:
    """Yield the lines of a component without those of inner components that are not needed."""
    kept = _INNER[component.name]
    skipped: list[str] = []
    for line in component.lines:
        bound, name = _bound(line)
        if skipped:
            if name == skipped[0] and bound == "BEGIN":
                skipped.append(name)
            elif name == skipped[0]:
                skipped.pop()
        elif not bound or name in kept:
            yield line
        elif bound == "BEGIN":
            skipped.append(name)


def _bound(line: str) -> tuple[str, str]:
    """Return BEGIN or END and the name of the component, or empty texts for any other line."""
    bound = property_name(line)
    return (bound, line.partition(":")[2].strip().upper()) if bound in ("BEGIN", "END") else ("", "")
