"""iCalendar (RFC 5545): the occurrences of the next 60 days.

The id of an occurrence is the UID, and for a series its RECURRENCE-ID. So a moved occurrence keeps its id. A cancelled
one is reported as removed.
"""

import datetime as dt
import re
import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import icalendar
import recurring_ical_events
from icalendar.timezone import tzp

from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import InvalidRow, Rejection, shown
from services.offerserver.importers.calendar_events import categories_of, check_event, point_of, sequence_of, text_of
from services.offerserver.importers.calendar_text import ComponentText, split_calendars
from services.offerserver.importers.calendar_zones import MOST_ZONES, KnownZones, computable
from services.offerserver.importers.rows import FeedRow, FeedRows

DAYS_AHEAD: Final = 60
PARSE_AGAIN_S: Final = 12 * 3600
"""A calendar that does not change has new events among those of the next days."""
MOST_OCCURRENCES: Final = 200
"""The most occurrences of a series."""
MOST_SECONDS: Final = 20.0
"""For the series of a document. The others are rejected, and the document is partial. A rule without any occurrence is
searched up to the year 9999, which takes seconds. So this is the one limit that depends on the machine."""
_UNREADABLE: Final = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
"""What icalendar and recurring_ical_events raise for malformed values."""
_END: Final = "END:VCALENDAR"
_EVENT_END: Final = re.compile(r"^END:VEVENT[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_ZONES: Final = threading.Lock()
"""Guards the time zones of icalendar. It keeps those of all calendars of the process by their TZID."""
_USUAL_LENGTH: Final = dt.timedelta(hours=2)
"""The length of an event without an end."""


class CalendarRows(FeedRows):
    """Yields occurrences: `id`, `summary`, `description`, `location`, `link`, `categories`, `starts_ms`, `ends_ms`.

    `when` is the begin as people write it in the zone. `geo` is the point of the event itself; it is left out if all
    events have the same one, because it is that of the organiser then.
    """

    def __init__(self, document: FeedDocument, *, zone: dt.tzinfo, now_ms: int) -> None:
        """`zone` is that of times and days without one."""
        super().__init__()
        self._text = document.text
        self._zone = zone
        self._begin = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC)
        self._end = self._begin + dt.timedelta(days=DAYS_AHEAD)
        self._has_points = False
        self._spent_s = 0.0
        self._zones = 0

    def __iter__(self) -> Iterator[FeedRow]:
        series: dict[str, list[Any]] = {}
        for components in self._calendars():
            for event in self._events(components):
                if self._is_usable(event):
                    event["SEQUENCE"] = sequence_of(event)
                    series.setdefault(text_of(event, "UID"), []).append(event)
        points = {point_of(event) for events in series.values() for event in events} - {None}
        self._has_points = len(points) > 1
        for uid, events in series.items():
            try:
                yield from self._occurrences(uid, self._newest(uid, events))
            except _UNREADABLE as error:
                self._reject(uid, "VEVENT", "", f"cannot be computed: {shown(str(error))}")

    def _calendars(self) -> list[list[ComponentText]]:
        text = self._text.strip()
        if not text.upper().startswith("BEGIN:VCALENDAR"):
            raise UnreadableFeed("the document does not begin with BEGIN:VCALENDAR")
        if not text.upper().endswith(_END):
            self.partial.append(f"the calendar does not end with {_END}")
            ends = list(_EVENT_END.finditer(text))
            text = f"{text[: ends[-1].end()]}\r\n{_END}" if ends else f"BEGIN:VCALENDAR\r\n{_END}"
        return split_calendars(text)

    def _events(self, components: list[ComponentText]) -> list[Any]:
        """Parse the events of a calendar. Those that can't be parsed are rejected."""
        with _ZONES:
            tzp.use(KnownZones())  # empties the cache of time zones, which has those of the calendar before
            for zone in (each for each in components if each.name == "VTIMEZONE"):
                self._keep(zone)
            return [event for each in components if each.name == "VEVENT" for event in self._parsed(each)]

    def _keep(self, zone: ComponentText) -> None:
        """Parse a time zone, which icalendar keeps in its cache. The zone of the source replaces one that fails."""
        self._zones += 1
        try:
            if self._zones > MOST_ZONES:
                raise ValueError(f"the document has more than {MOST_ZONES} time zones")
            icalendar.Timezone.from_ical(str(computable(zone)))
        except _UNREADABLE as error:
            reason = f"is not used: {shown(str(error))}"
            self.remarks.append(Rejection(shown(zone.value("TZID")), "VTIMEZONE", "", reason))

    def _parsed(self, text: ComponentText) -> Iterator[Any]:
        try:
            yield icalendar.Event.from_ical(str(text))
        except _UNREADABLE as error:
            self._reject(text.value("UID"), "VEVENT", "", f"cannot be read: {shown(str(error))}")

    def _is_usable(self, event: Any) -> bool:
        """Return whether an event can be imported, and list it otherwise."""
        uid = text_of(event, "UID")
        try:
            check_event(event)
        except InvalidRow as error:
            return self._reject(uid, error.field, error.value, error.reason)
        except _UNREADABLE as error:
            return self._reject(uid, "VEVENT", "", f"cannot be read: {shown(str(error))}")
        return True

    def _reject(self, uid: str, field: str, value: object, reason: str) -> bool:
        self.rejections.append(Rejection(shown(uid), field, shown(str(value)), reason))
        return False

    def _newest(self, uid: str, events: list[Any]) -> list[Any]:
        """Return the newest version of an event, and of each of its changed occurrences."""
        if len(events) == 1:
            return events
        newest: dict[str, Any] = {}
        for event in sorted(events, key=self._version):
            newest[self._name(event) if "RECURRENCE-ID" in event else ""] = event
        if len(newest) < len(events):
            reason = f"has {len(events)} versions; the newest one is used"
            self.remarks.append(Rejection(shown(uid), "UID", shown(text_of(events[0], "SUMMARY")), reason))
        return list(newest.values())

    def _version(self, event: Any) -> tuple[int, str, dt.datetime, bytes]:
        """Return what orders the versions of an event, whatever their order in the document."""
        stamp = getattr(event["DTSTAMP"], "to_ical", bytes)() if "DTSTAMP" in event else b""
        return event["SEQUENCE"], stamp.decode(), self._time(event["DTSTART"].dt), event.to_ical()

    def _occurrences(self, uid: str, events: list[Any]) -> Iterator[FeedRow]:
        if not any(name in event for event in events for name in ("RRULE", "RDATE", "RECURRENCE-ID")):
            yield from self._row(uid, events[0])
            return
        if self._spent_s > MOST_SECONDS:
            self._reject(uid, "RRULE", "", f"is not computed: the series before it took {MOST_SECONDS} s")
            if (missing := f"the series of the calendar take more than {MOST_SECONDS} s") not in self.partial:
                self.partial.append(missing)
            return
        calendar = icalendar.Calendar()
        for event in events:
            calendar.add_component(event)
        began_s = time.monotonic()
        try:
            found = recurring_ical_events.of(calendar).between(self._begin, self._end)
        finally:
            self._spent_s += time.monotonic() - began_s
        occurrences = sorted(found, key=lambda event: self._time(event["DTSTART"].dt))
        for event in islice(occurrences, MOST_OCCURRENCES):
            yield from self._row(f"{uid}/{self._name(event)}", event)
        if len(occurrences) > MOST_OCCURRENCES:
            reason = f"has {len(occurrences)} occurrences; the first {MOST_OCCURRENCES} are used"
            self.remarks.append(Rejection(shown(uid), "RRULE", "", reason))

    def _name(self, event: Any) -> str:
        """Return what identifies an occurrence within its series: its original begin in UTC, or its day."""
        original: dt.date = (event.get("RECURRENCE-ID") or event["DTSTART"]).dt
        if not isinstance(original, dt.datetime):
            return f"{original:%Y%m%d}"
        return self._time(original).astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ")

    def _row(self, row_id: str, event: Any) -> Iterator[FeedRow]:
        """Yield an occurrence within the next days. A cancelled one is removed."""
        begin, end = self._span(event)
        is_day = not isinstance(event["DTSTART"].dt, dt.datetime)
        local = begin.astimezone(self._zone)
        row = {
            "id": row_id,
            "summary": text_of(event, "SUMMARY"),
            "description": text_of(event, "DESCRIPTION"),
            "location": text_of(event, "LOCATION"),
            "link": text_of(event, "URL"),
            "categories": categories_of(event),
            "starts_ms": round(1000 * begin.timestamp()),
            "ends_ms": round(1000 * end.timestamp()),
            "when": f"{local:%d.%m.%Y}" if is_day else f"{local:%d.%m.%Y %H:%M}",
            "geo": point_of(event) if self._has_points else None,
        }
        if text_of(event, "STATUS").upper() == "CANCELLED":
            self.removed.append(row)
        elif end > self._begin and begin < self._end:
            yield row

    def _span(self, event: Any) -> tuple[dt.datetime, dt.datetime]:
        start = event["DTSTART"].dt
        begin = self._time(start)
        if "DTEND" in event:
            end = self._time(event["DTEND"].dt)
        elif "DURATION" in event:
            end = begin + event["DURATION"].dt
        elif isinstance(start, dt.datetime):
            end = begin + _USUAL_LENGTH
        else:
            end = self._time(start + dt.timedelta(days=1))
        return begin, max(begin, end)

    def _time(self, value: dt.date) -> dt.datetime:
        """Return an aware time. A day begins at midnight of the zone, and a floating time is one of the zone."""
        if not isinstance(value, dt.datetime):
            value = dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the next line adds the zone
        return value if value.tzinfo is not None else value.replace(tzinfo=self._zone)
