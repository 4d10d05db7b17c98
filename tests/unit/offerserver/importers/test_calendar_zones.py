import datetime as dt
import time
from zoneinfo import ZoneInfo

import icalendar
import pytest
from icalendar.timezone import tzp

from services.offerserver.importers.calendar_text import ComponentText
from services.offerserver.importers.calendar_zones import MOST_DATES, KnownZones, computable


def part(name: str, *lines: str, begin: str = "19700101T000000", offsets: str = "+0100 +0200") -> list[str]:
    before, after = offsets.split()
    usual = [f"DTSTART:{begin}", f"TZOFFSETFROM:{before}", f"TZOFFSETTO:{after}"]
    return [f"BEGIN:{name}", *usual, *lines, f"END:{name}"]


def zone(*parts: list[str]) -> ComponentText:
    return ComponentText("VTIMEZONE", ["TZID:Own", *(line for lines in parts for line in lines)])


def offset(text: ComponentText, day: dt.datetime) -> float:
    tzp.use(KnownZones())
    found = icalendar.Timezone.from_ical(str(computable(text)))
    assert isinstance(found, icalendar.Timezone)
    return (day.replace(tzinfo=found.to_tz()).utcoffset() or dt.timedelta()) / dt.timedelta(hours=1)


def test_known_zones_are_those_of_the_tz_database() -> None:
    zones = KnownZones()
    assert zones.timezone("Europe/Berlin") == ZoneInfo("Europe/Berlin")
    assert [zones.timezone(name) for name in ("Europe", "Own", "a/b")] == [None, None, None]
    with pytest.raises(ValueError, match="more than 200 characters"):
        zones.timezone(201 * "x")


@pytest.mark.parametrize("year", ["0001", "1601", "1970", "2020"])
@pytest.mark.parametrize(
    ("march", "october"),
    [
        ("BYMONTH=3;BYDAY=-1SU", "BYMONTH=10;BYDAY=-1SU"),
        ("INTERVAL=1;BYDAY=-1SU;BYMONTH=3;WKST=MO", "INTERVAL=1;BYDAY=-1SU;BYMONTH=10;WKST=MO"),
        ("BYMONTH=3;BYMONTHDAY=25,26,27,28,29,30,31;BYDAY=SU", "BYMONTH=10;BYMONTHDAY=-1,-2,-3,-4,-5,-6,-7;BYDAY=SU"),
        ("BYMINUTE=0;BYHOUR=2;BYDAY=-1SU;BYMONTH=3", "BYMINUTE=0;BYHOUR=3;BYDAY=-1SU;BYMONTH=10"),
    ],
)
def test_usual_rules_have_their_offsets(year: str, march: str, october: str) -> None:
    own = zone(
        part("DAYLIGHT", f"RRULE:FREQ=YEARLY;{march}", begin=f"{year}0301T020000"),
        part("STANDARD", f"RRULE:FREQ=YEARLY;{october}", begin=f"{year}1001T030000", offsets="+0200 +0100"),
    )
    days = [dt.datetime(2026, 3, 28), dt.datetime(2026, 3, 30), dt.datetime(2026, 10, 24), dt.datetime(2026, 10, 26)]  # noqa: DTZ001 - `offset` adds the zone
    assert [offset(own, day) for day in days] == [1, 2, 2, 1]


def test_rule_that_has_ended_keeps_its_begin_and_its_end() -> None:
    rule = "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=3SU;UNTIL=19670319T020000"
    own = zone(part("DAYLIGHT", rule, begin="19610101T020000"))
    assert {"DTSTART:19610101T020000", rule} < set(computable(own).lines)


def test_only_needed_lines_are_kept() -> None:
    own = zone(part("STANDARD", "TZNAME:CET"))
    more = zone(part("STANDARD", "TZNAME:CET", "EXRULE:FREQ=SECONDLY", "X-A:1", "no colon"))
    more.lines.insert(1, "LAST-MODIFIED:yesterday")
    assert computable(more) == own


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=SECONDLY",
        "FREQ=YEARLY;FREQ=SECONDLY",
        "FREQ=MONTHLY",
        "BYMONTH=3",
        "FREQ=YEARLY;INTERVAL=0",
        "FREQ=YEARLY;BYDAY=SU",
        "FREQ=YEARLY;BYMONTHDAY=1",
        "FREQ=YEARLY;BYMONTH=1,2;BYDAY=SU",
        "FREQ=YEARLY;BYMONTH=1;BYDAY=MO,TU",
        "FREQ=YEARLY;BYMONTH=13;BYDAY=SU",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=1;BYDAY=2SU",
        "FREQ=YEARLY;BYHOUR=1,2",
        "FREQ=YEARLY;BYWEEKNO=1",
        "FREQ=YEARLY;COUNT=5",
        'X="FREQ=YEARLY":FREQ=SECONDLY',
    ],
)
def test_rule_that_may_take_long_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match="has a rule"):
        computable(zone(part("STANDARD", f"RRULE:{rule}")))


def test_rules_have_at_most_500_years() -> None:
    rules = part("STANDARD", "RRULE:FREQ=YEARLY", begin="19700101T000000")
    computable(zone(rules, rules, rules))
    with pytest.raises(ValueError, match="has rules for 512 years, more than 500"):
        computable(zone(rules, rules, rules, rules))


def test_zone_has_at_most_500_onsets_without_a_rule() -> None:
    dates = "RDATE:" + ",".join(["19800101T000000"] * (MOST_DATES - 1))
    computable(zone(part("STANDARD", dates)))
    with pytest.raises(ValueError, match="has 501 onsets, more than 500"):
        computable(zone(part("STANDARD", dates), part("DAYLIGHT")))


@pytest.mark.parametrize(
    "lines",
    [
        ["BEGIN:STANDARD", *part("STANDARD")],
        [*part("STANDARD"), "END:STANDARD"],
        part("STANDARD", "DTSTART:19800101T000000"),
        part("STANDARD", "RRULE:FREQ=YEARLY", "RRULE:FREQ=YEARLY"),
        part("STANDARD", "RRULE:FREQ=YEARLY", begin="x"),
    ],
)
def test_malformed_part_is_refused(lines: list[str]) -> None:
    with pytest.raises(ValueError, match=r"has a|invalid"):
        computable(zone(lines))


@pytest.mark.parametrize(
    "rule", ["FREQ=YEARLY", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=SU", "FREQ=YEARLY;BYMONTH=1;BYDAY=-5MO"]
)
def test_zone_is_computed_in_a_short_time(rule: str) -> None:
    began = time.monotonic()
    parts = [part("STANDARD", f"RRULE:{rule}", begin="00010101T000000") for _ in range(3)]
    assert offset(zone(*parts), dt.datetime(2026, 10, 10)) == 2  # noqa: DTZ001 - `offset` adds the zone
    assert time.monotonic() - began < 2
