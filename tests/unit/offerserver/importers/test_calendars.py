import datetime as dt
import time
from itertools import permutations
from zoneinfo import ZoneInfo

import pytest

from services.offerserver.core.drafts import Parsed, UnreadableFeed
from services.offerserver.importers import calendars
from services.offerserver.importers.calendar_zones import MOST_ZONES
from services.offerserver.importers.calendars import MOST_OCCURRENCES
from services.offerserver.importers.configured import read_source
from tests.unit.offerserver.reading import configured, document, extdata, feed, parse, rejected

BERLIN = ZoneInfo("Europe/Berlin")
AUTUMN = dt.datetime(2026, 10, 1, tzinfo=dt.UTC)
"""Summer time ends on 25 October."""
SPRING = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
"""It begins on 28 March."""


def ms(moment: dt.datetime) -> int:
    return round(1000 * moment.timestamp())


def event(*lines: str, uid: str = "one", where: str = "Old Hall", start: str = "20261010T180000Z") -> str:
    own = {line.partition(":")[0].partition(";")[0] for line in lines}
    usual = (f"DTSTART:{start}", f"LOCATION:{where}", "SUMMARY:A concert")
    kept = (line for line in usual if line.partition(":")[0] not in own)
    return "\r\n".join(["BEGIN:VEVENT", f"UID:{uid}", *kept, *lines, "END:VEVENT"])


def zone(offset: str, *lines: str) -> str:
    rule = ["BEGIN:STANDARD", "DTSTART:19700101T000000", f"TZOFFSETFROM:{offset}", f"TZOFFSETTO:{offset}", *lines]
    return "\r\n".join(["BEGIN:VTIMEZONE", "TZID:Own", *rule, "END:STANDARD", "END:VTIMEZONE"])


def calendar(*parts: str) -> str:
    return "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:test", *parts, "END:VCALENDAR", ""])


def read(text: str, now: dt.datetime = AUTUMN) -> Parsed:
    return parse(configured("concerts.yaml"), document(text, kind="calendar"), now_ms=ms(now))


def begins(found: Parsed) -> list[str]:
    return [str(each["berlin_time"]) for each in extdata(found)]


def test_event_has_its_fields_and_its_validity() -> None:
    text = event(
        "DTSTART;TZID=Europe/Berlin:20261010T200000",
        "DTEND;TZID=Europe/Berlin:20261010T223000",
        "SUMMARY:Strings\\, late",
        "URL:https://music.example/1",
        "CATEGORIES:Music,Strings",
    )
    (draft,) = read(calendar(text)).drafts
    assert (draft.id, draft.text, draft.latitude) == ("one", "Strings, late", 52.51)
    assert draft.keywords == ("#music", "#strings")
    assert draft.valid_until_ms == ms(dt.datetime(2026, 10, 10, 22, 30, tzinfo=BERLIN))
    assert draft.valid_from_ms == ms(dt.datetime(2026, 10, 8, 20, tzinfo=BERLIN))
    assert draft.extdata == {
        "berlin_time": "10.10.2026 20:00",
        "link": "https://music.example/1",
        "where": "Old Hall",
    }


def test_weekly_series_keeps_its_local_time_across_the_end_of_summer_time() -> None:
    text = event("DTSTART;TZID=Europe/Berlin:20261018T190000", "RRULE:FREQ=WEEKLY;COUNT=3")
    found = read(calendar(text))
    assert begins(found) == ["18.10.2026 19:00", "25.10.2026 19:00", "01.11.2026 19:00"]
    assert [draft.id for draft in found.drafts] == [
        "one/20261018T170000Z",
        "one/20261025T180000Z",
        "one/20261101T180000Z",
    ]


def test_weekly_series_keeps_its_local_time_across_the_begin_of_summer_time() -> None:
    text = event("DTSTART;TZID=Europe/Berlin:20270321T190000", "RRULE:FREQ=WEEKLY;COUNT=2")
    assert [draft.id for draft in read(calendar(text), SPRING).drafts] == [
        "one/20270321T180000Z",
        "one/20270328T170000Z",
    ]


def test_exception_date_has_no_occurrence() -> None:
    lines = ("RRULE:FREQ=DAILY;COUNT=3", "EXDATE;TZID=Europe/Berlin:20261011T190000")
    found = read(calendar(event("DTSTART;TZID=Europe/Berlin:20261010T190000", *lines)))
    assert begins(found) == ["10.10.2026 19:00", "12.10.2026 19:00"]


def test_moved_occurrence_keeps_its_id() -> None:
    series = event("RRULE:FREQ=DAILY;COUNT=2")
    moved = event("RECURRENCE-ID:20261011T180000Z", "DTSTART:20261013T180000Z", "SUMMARY:Moved")
    found = read(calendar(series, moved))
    assert [(draft.id, draft.text) for draft in found.drafts] == [
        ("one/20261010T180000Z", "A concert"),
        ("one/20261011T180000Z", "Moved"),
    ]


def test_cancelled_occurrence_is_removed() -> None:
    series = event("RRULE:FREQ=DAILY;COUNT=2")
    found = read(calendar(series, event("RECURRENCE-ID:20261011T180000Z", "STATUS:CANCELLED")))
    assert [draft.id for draft in found.drafts] == ["one/20261010T180000Z"]
    assert found.removed == {"one/20261011T180000Z"}


def test_cancelled_event_is_removed() -> None:
    found = read(calendar(event("STATUS:CANCELLED"), event(uid="two")))
    assert ([draft.id for draft in found.drafts], found.removed) == (["two"], frozenset({"one"}))


def test_newest_version_of_an_event_counts() -> None:
    found = read(calendar(event("SEQUENCE:2", "SUMMARY:New"), event("SEQUENCE:1", "SUMMARY:Old")))
    assert [draft.text for draft in found.drafts] == ["New"]


def test_day_is_one_of_the_zone() -> None:
    (draft,) = read(calendar(event("DTSTART;VALUE=DATE:20261010"))).drafts
    assert draft.valid_until_ms == ms(dt.datetime(2026, 10, 11, tzinfo=BERLIN))
    assert draft.extdata["berlin_time"] == "10.10.2026"


def test_series_of_days_has_ids_of_days() -> None:
    found = read(calendar(event("DTSTART;VALUE=DATE:20261010", "RRULE:FREQ=WEEKLY;COUNT=2")))
    assert [draft.id for draft in found.drafts] == ["one/20261010", "one/20261017"]


def test_floating_time_is_one_of_the_zone() -> None:
    found = read(
        calendar(
            event("DTSTART:20261010T190000"), event("DTSTART:20261011T190000", "RRULE:FREQ=DAILY;COUNT=1", uid="two")
        )
    )
    assert begins(found) == ["10.10.2026 19:00", "11.10.2026 19:00"]


def test_zone_of_the_calendar_is_used() -> None:
    found = read(calendar(zone("+0500"), event("DTSTART;TZID=Own:20261010T190000", "RRULE:FREQ=DAILY;COUNT=1")))
    assert [draft.id for draft in found.drafts] == ["one/20261010T140000Z"]


def test_zone_of_another_calendar_is_not_used() -> None:
    own = event("DTSTART;TZID=Own:20261010T190000")
    assert begins(read(calendar(zone("+0100"), own))) == ["10.10.2026 20:00"]
    assert begins(read(calendar(zone("+0500"), own))) == ["10.10.2026 16:00"]
    assert begins(read(calendar(own))) == ["10.10.2026 19:00"]


def test_only_the_next_60_days_are_imported() -> None:
    found = read(
        calendar(event("RRULE:FREQ=DAILY", start="20260901T120000Z"), event(uid="past", start="20260901T120000Z"))
    )
    assert len(found.drafts) == 60
    assert {draft.id.partition("/")[0] for draft in found.drafts} == {"one"}


def test_newest_version_does_not_depend_on_the_order() -> None:
    versions = [
        event("SEQUENCE:1", "DTSTAMP:20260902T000000Z", "SUMMARY:Old"),
        event("SEQUENCE:2", "DTSTAMP:20260901T000000Z", "SUMMARY:Newest", start="20261012T180000Z"),
        event("SEQUENCE:2", "DTSTAMP:20260901T000000Z", "SUMMARY:Old"),
        event("SEQUENCE:2", "SUMMARY:Old"),
    ]
    for order in permutations(versions):
        found = read(calendar(*order))
        assert [draft.text for draft in found.drafts] == ["Newest"]
        assert found.remarks[0].reason == "has 4 versions; the newest one is used"


def test_newest_version_of_a_series_and_of_its_occurrences_counts() -> None:
    moved = [
        event("RECURRENCE-ID:20261011T180000Z", f"SEQUENCE:{n}", f"SUMMARY:Moved {n}", start="20261013T180000Z")
        for n in (2, 1)
    ]
    series = [event("RRULE:FREQ=DAILY;COUNT=2", f"SEQUENCE:{n}", f"SUMMARY:Series {n}") for n in (1, 0)]
    for parts in ((*series, *moved), (*reversed(moved), *reversed(series))):
        assert [draft.text for draft in read(calendar(*parts)).drafts] == ["Series 1", "Moved 2"]


@pytest.mark.parametrize(
    "rule",
    ["FREQ=SECONDLY", "FREQ=MINUTELY;INTERVAL=5", "FREQ=HOURLY", "FREQ=DAILY;BYHOUR=1,2", "FREQ=DAILY;BYSECOND=1,2"],
)
def test_series_that_is_finer_than_daily_is_rejected_alone(rule: str) -> None:
    began = time.monotonic()
    found = read(calendar(event(f"RRULE:{rule}"), event(uid="two")))
    assert [draft.id for draft in found.drafts] == ["two"]
    assert rejected(found) == [("one", "RRULE", "is finer than daily")]
    assert time.monotonic() - began < 5


def test_series_has_at_most_200_occurrences() -> None:
    dates = ",".join(f"2026{10 + n // 250:02}{1 + n % 250 // 24 + 1:02}T{n % 24:02}0000Z" for n in range(230))
    found = read(calendar(event(f"RDATE:{dates}")))
    assert len(found.drafts) == MOST_OCCURRENCES
    assert "occurrences; the first 200 are used" in found.remarks[0].reason


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        (("DTSTART:garbage",), "DTSTART"),
        (("RRULE:FREQ=OFTEN",), "RRULE"),
        (("RRULE:FREQ=DAILY", "DTSTART:19700101T000000Z"), "DTSTART"),
        (("DTEND:20261010T190000Z", "DTEND:20261010T200000Z"), "DTEND"),
        (("DTEND;VALUE=TIME:190000",), "DTEND"),
        (("DURATION:PT1H", "DURATION:PT2H"), "DURATION"),
        (("DURATION:long",), "DURATION"),
        (("DURATION:P99999999D",), "VEVENT"),
        (("DURATION:P99999999D", "RRULE:FREQ=DAILY"), "VEVENT"),
        (("DTSTART;VALUE=DATE:99991231",), "VEVENT"),
        (("DTSTART:99991231T235959Z",), "VEVENT"),
        ((f"DTSTART;TZID={300 * 'x'}:20261010T190000",), "DTSTART"),
        ((f"DTSTART;TZID={'/a' * 100_000}:20261010T190000",), "DTSTART"),
        (("DTSTART;VALUE=TIME:180000",), "DTSTART"),
        (("DTSTART;VALUE=PERIOD:20261010T180000Z/PT1H",), "DTSTART"),
        (("RECURRENCE-ID:20261010T180000Z", "RECURRENCE-ID:20261011T180000Z"), "RECURRENCE-ID"),
    ],
)
def test_malformed_event_is_rejected_alone(lines: tuple[str, ...], field: str) -> None:
    found = read(calendar(event(*lines), event(uid="two")))
    assert [draft.id for draft in found.drafts] == ["two"]
    assert [(each.id, each.field) for each in found.rejections] == [("one", field)]


@pytest.mark.parametrize(
    "lines",
    [
        ("SEQUENCE:1", "SEQUENCE:2"),
        ("SEQUENCE:abc",),
        ("SEQUENCE:abc", "RRULE:FREQ=DAILY;COUNT=1"),
        ("GEO:abc",),
        ("GEO:nan;nan",),
        ("GEO:1;2", "GEO:1;2"),
        ("STATUS:CONFIRMED", "STATUS:CONFIRMED"),
        ("DTSTAMP:abc",),
    ],
)
def test_event_is_read_without_a_malformed_line_that_is_not_needed(lines: tuple[str, ...]) -> None:
    found = read(calendar(event(*lines), event("SEQUENCE:0", *lines, uid="two"), event("GEO:52.40;13.20", uid="three")))
    assert [draft.id.partition("/")[0] for draft in found.drafts] == ["one", "two", "three"]
    assert (found.rejections, found.partial) == ((), ())


@pytest.mark.parametrize(
    "part",
    [
        "no colon",
        "X-WR-CALNAME;:x",
        "LAST-MODIFIED:yesterday",
        "BEGIN:VTODO\r\nUID:todo\r\nDUE:tomorrow\r\nno colon\r\nEND:VTODO",
        "BEGIN:X-OWN\r\nno colon\r\nEND:X-OWN",
        "BEGIN:X-OWN",
        "END:X-OWN",
        "BEGIN:VTIMEZONE\r\nTZID:Own\r\nno colon\r\nEND:VTIMEZONE",
    ],
)
def test_events_are_read_beside_a_malformed_component(part: str) -> None:
    found = read(calendar(part, event(), part, event(uid="two")))
    assert [draft.id for draft in found.drafts] == ["one", "two"]
    assert (found.rejections, found.partial) == ((), ())


def test_event_is_read_without_its_malformed_alarm() -> None:
    alarm = ("BEGIN:VALARM", "TRIGGER:soon", "no colon", "DESCRIPTION:Leave", "END:VALARM")
    found = read(calendar(event(*alarm, "SUMMARY:Strings"), event(uid="two")))
    assert [(draft.id, draft.text) for draft in found.drafts] == [("one", "Strings"), ("two", "A concert")]
    assert found.rejections == ()


@pytest.mark.parametrize("name", ["Europe", "Unknown", "/" * 200, "../etc/passwd", "/a" * 100])
def test_time_of_an_unknown_zone_is_one_of_the_zone_of_the_source(name: str) -> None:
    assert begins(read(calendar(event(f"DTSTART;TZID={name}:20261010T190000")))) == ["10.10.2026 19:00"]


def test_malformed_time_zone_is_listed_and_not_used() -> None:
    found = read(calendar(zone("five"), event("DTSTART;TZID=Own:20261010T190000")))
    assert begins(found) == ["10.10.2026 19:00"]
    assert (found.remarks[0].id, found.remarks[0].field) == ("Own", "VTIMEZONE")


def test_time_zone_with_a_secondly_rule_is_listed_and_not_used() -> None:
    began = time.monotonic()
    rule = "RRULE:FREQ=SECONDLY;UNTIL=19700102T000000Z"  # without its end, it takes hours and all the memory
    found = read(calendar(zone("+0500", rule), event("DTSTART;TZID=Own:20261010T190000")))
    assert begins(found) == ["10.10.2026 19:00"]
    assert found.remarks[0].reason == "is not used: has a rule with FREQ=SECONDLY"
    assert time.monotonic() - began < 5


def test_document_has_at_most_50_time_zones() -> None:
    zones = [zone(f"+{1 + n % 9:02}00").replace("TZID:Own", f"TZID:Own{n}") for n in range(MOST_ZONES + 2)]
    found = read(calendar(*zones[:1], event("DTSTART;TZID=Own0:20261010T190000")) + calendar(*zones[1:]))
    assert begins(found) == ["10.10.2026 20:00"]
    reason = "is not used: the document has more than 50 time zones"
    assert [each.id for each in found.remarks if each.reason == reason] == ["Own50", "Own51"]


def test_calendars_of_a_document_have_their_own_zones() -> None:
    own = event("DTSTART;TZID=Own:20261010T190000")
    found = read(calendar(zone("+0100"), own) + calendar(zone("+0500"), own.replace("UID:one", "UID:two")))
    assert begins(found) == ["10.10.2026 20:00", "10.10.2026 16:00"]


def test_zone_may_follow_the_events() -> None:
    found = read(calendar(event("DTSTART;TZID=Own:20261010T190000"), zone("+0500")))
    assert begins(found) == ["10.10.2026 16:00"]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("FREQ=DAILY;INTERVAL=0", "has an interval below 1"),
        ("FREQ=YEARLY;INTERVAL=-1", "has an interval below 1"),
        ("FREQ=DAILY;BYSETPOS=5", "has BYSETPOS, which a daily series can't have"),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "has a day that none of its months has"),
        ("FREQ=YEARLY;BYMONTH=4,6;BYMONTHDAY=-31", "has a day that none of its months has"),
    ],
)
def test_rule_that_never_ends_or_has_no_occurrence_is_rejected_at_once(rule: str, reason: str) -> None:
    began = time.monotonic()
    parts = [event(f"RRULE:{rule}", uid=str(n), start="19900101T180000Z") for n in range(20)]
    found = read(calendar(*parts, event(uid="two")))
    assert [draft.id for draft in found.drafts] == ["two"]
    assert rejected(found) == [(str(n), "RRULE", reason) for n in range(20)]
    assert time.monotonic() - began < 5


def test_event_with_several_rules_is_rejected_at_once() -> None:
    began = time.monotonic()
    rules = [f"RRULE:FREQ=YEARLY;BYYEARDAY=366;BYMONTH={1 + n % 11}" for n in range(100)]
    found = read(calendar(event(*rules), event(uid="two")))
    assert [draft.id for draft in found.drafts] == ["two"]
    assert rejected(found) == [("one", "RRULE", "must occur once")]
    assert time.monotonic() - began < 5


def test_29_february_is_a_day() -> None:
    found = read(calendar(event("RRULE:FREQ=YEARLY;BYMONTH=2,10;BYMONTHDAY=29")))
    assert [draft.id for draft in found.drafts] == ["one/20261010T180000Z", "one/20261029T180000Z"]


def test_series_are_computed_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendars, "MOST_SECONDS", 0.0)
    rule = "RRULE:FREQ=DAILY;COUNT=1"
    found = read(calendar(event(rule), event(rule, uid="two"), event(rule, uid="three"), event(uid="four")))
    assert [draft.id for draft in found.drafts] == ["one/20261010T180000Z", "four"]
    assert [(each.id, each.field) for each in found.rejections] == [("two", "RRULE"), ("three", "RRULE")]
    assert found.partial == ("the series of the calendar take more than 0.0 s",)


def test_removed_event_has_the_id_that_its_mapping_makes() -> None:
    text = feed("concerts.yaml").replace("fields:", "fields:\n  id: [summary, starts_ms]")
    parts = calendar(event(uid="one")), calendar(event("STATUS:CANCELLED", uid="other"))
    before, after = (parse(read_source(text), document(part, kind="calendar"), now_ms=ms(AUTUMN)) for part in parts)
    assert after.removed == {draft.id for draft in before.drafts}
    assert len(after.removed) == 1


def test_event_without_an_id_is_rejected() -> None:
    found = read(calendar("BEGIN:VEVENT\r\nDTSTART:20261010T180000Z\r\nSUMMARY:x\r\nEND:VEVENT"))
    assert [each.field for each in found.rejections] == ["UID"]


def test_unknown_place_is_listed() -> None:
    found = read(calendar(event(where="Barn")))
    assert [(each.field, each.value) for each in found.rejections] == [("location", "Barn")]


def test_points_are_used_only_where_events_differ() -> None:
    same = read(calendar(event("GEO:52.40;13.20"), event("GEO:52.40;13.20", uid="two", where="Harbour")))
    assert [draft.latitude for draft in same.drafts] == [52.51, 52.50]
    other = read(calendar(event("GEO:52.40;13.20"), event("GEO:52.41;13.20", uid="two"), event(uid="three")))
    assert [draft.latitude for draft in other.drafts] == [52.40, 52.41, 52.51]


def test_half_a_calendar_is_partial() -> None:
    text = calendar(event(), event(uid="two"), event(uid="three"))
    found = read(text[: text.index("UID:three")])
    assert [draft.id for draft in found.drafts] == ["one", "two"]
    assert found.partial == ("the calendar does not end with END:VCALENDAR",)
    assert read("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n").drafts == ()


@pytest.mark.parametrize("text", ["", "{}", "BEGIN:VEVENT\r\nEND:VEVENT\r\n"])
def test_document_that_is_no_calendar_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFeed, match="BEGIN:VCALENDAR"):
        read(text)


def test_second_reading_has_the_same_drafts() -> None:
    text = calendar(event("RRULE:FREQ=WEEKLY"), event(uid="two"))
    assert read(text) == read(text)
    later = {draft.id: draft for draft in read(text, AUTUMN + dt.timedelta(days=3)).drafts}
    for draft in read(text).drafts:
        assert later[draft.id] == draft


def test_calendar_of_10000_events_is_read() -> None:
    text = calendar(*(event(uid=str(n), start=f"202610{1 + n % 28:02}T{n % 24:02}0000Z") for n in range(10_000)))
    assert len(read(text).drafts) > 9_000
