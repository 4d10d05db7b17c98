"""iCalendar (RFC 5545): the occurrences of the next 60 days.

The id of an occurrence is the UID, and for a series its RECURRENCE-ID. So a moved occurrence keeps its id. A cancelled
one is reported as removed.
"""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import icalendar
import recurring_ical_events

from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import Rejection, shown
from services.offerserver.importers.rows import FeedRow, FeedRows

DAYS_AHEAD: Final = 60
PARSE_AGAIN_S: Final = 12 * 3600
"""A calendar that does not change has new events among those of the next days."""
MOST_OCCURRENCES: Final = 200
"""The most occurrences of a series."""
_FREQUENCIES: Final = frozenset({"DAILY", "WEEKLY", "MONTHLY", "YEARLY"})
_FINER_PARTS: Final = ("BYHOUR", "BYMINUTE", "BYSECOND")
_EARLIEST_YEAR: Final = 1990
"""A series is computed from its begin on."""
_END: Final = "END:VCALENDAR"
_EVENT_END: Final = re.compile(r"^END:VEVENT[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
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

    def __iter__(self) -> Iterator[FeedRow]:
        series: dict[str, list[Any]] = {}
        zones: list[Any] = []
        for calendar in self._calendars():
            zones += calendar.walk("VTIMEZONE")
            for event in calendar.walk("VEVENT"):
                if self._is_usable(event):
                    series.setdefault(str(event["UID"]), []).append(event)
        points = {_geo(event) for events in series.values() for event in events} - {None}
        self._has_points = len(points) > 1
        for uid, events in series.items():
            yield from self._occurrences(uid, events, zones)

    def _calendars(self) -> Sequence[Any]:
        text = self._text.strip()
        if not text.upper().startswith("BEGIN:VCALENDAR"):
            raise UnreadableFeed("the document does not begin with BEGIN:VCALENDAR")
        if not text.upper().endswith(_END):
            self.partial.append(f"the calendar does not end with {_END}")
            ends = list(_EVENT_END.finditer(text))
            text = f"{text[: ends[-1].end()]}\r\n{_END}" if ends else f"BEGIN:VCALENDAR\r\n{_END}"
        try:
            return icalendar.Calendar.from_ical(text, multiple=True)
        except ValueError as error:
            raise UnreadableFeed(f"the calendar is not well formed: {shown(str(error))}") from None

    def _is_usable(self, event: Any) -> bool:
        """Return whether an event can be imported, and list it otherwise."""
        uid = str(event.get("UID", ""))
        broken = {name for name, _ in event.errors if name in ("DTSTART", "DTEND", "RRULE", "RECURRENCE-ID", "EXDATE")}
        if broken:
            return self._reject(uid, min(broken), "", "is malformed")
        if not uid:
            return self._reject(uid, "UID", event.get("SUMMARY", ""), "is missing")
        if "DTSTART" not in event or isinstance(event["DTSTART"], list):
            return self._reject(uid, "DTSTART", "", "must occur once")
        for rule in _listed(event.get("RRULE")):
            written = rule.to_ical().decode()
            frequency = str(next(iter(rule.get("FREQ", ())), ""))
            if frequency not in _FREQUENCIES or any(len(rule.get(part, ())) > 1 for part in _FINER_PARTS):
                return self._reject(uid, "RRULE", written, "is finer than daily")
            if event.decoded("DTSTART").year < _EARLIEST_YEAR:
                return self._reject(uid, "DTSTART", written, f"a series must begin after {_EARLIEST_YEAR}")
        return True

    def _reject(self, uid: str, field: str, value: object, reason: str) -> bool:
        self.rejections.append(Rejection(shown(uid), field, shown(str(value)), reason))
        return False

    def _occurrences(self, uid: str, events: list[Any], zones: list[Any]) -> Iterator[FeedRow]:
        if not any(name in event for event in events for name in ("RRULE", "RDATE", "RECURRENCE-ID")):
            # The last one of several versions of an event counts.
            yield from self._row(uid, max(events, key=lambda event: int(event.get("SEQUENCE", 0))))
            return
        calendar = icalendar.Calendar()
        for component in (*zones, *events):
            calendar.add_component(component)
        try:
            found = recurring_ical_events.of(calendar).between(self._begin, self._end)
        except (ValueError, TypeError, OverflowError, recurring_ical_events.InvalidCalendar) as error:
            self._reject(uid, "RRULE", "", f"cannot be computed: {shown(str(error))}")
            return
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
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            self.removed.add(row_id)
            return
        begin, end = self._span(event)
        if end <= self._begin or begin >= self._end:
            return
        is_day = not isinstance(event["DTSTART"].dt, dt.datetime)
        local = begin.astimezone(self._zone)
        yield {
            "id": row_id,
            "summary": _text(event, "SUMMARY"),
            "description": _text(event, "DESCRIPTION"),
            "location": _text(event, "LOCATION"),
            "link": _text(event, "URL"),
            "categories": _categories(event),
            "starts_ms": round(1000 * begin.timestamp()),
            "ends_ms": round(1000 * end.timestamp()),
            "when": f"{local:%d.%m.%Y}" if is_day else f"{local:%d.%m.%Y %H:%M}",
            "geo": _geo(event) if self._has_points else None,
        }

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


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _text(event: Any, name: str) -> str:
    found = event.get(name)
    return str(found[0] if isinstance(found, list) and found else found or "")


def _categories(event: Any) -> list[str]:
    return [str(each) for found in _listed(event.get("CATEGORIES")) for each in getattr(found, "cats", ())]


def _geo(event: Any) -> tuple[float, float] | None:
    found = event.get("GEO")
    return (float(found.latitude), float(found.longitude)) if hasattr(found, "latitude") else None
