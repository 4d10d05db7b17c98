"""Quiet hours against an oracle that walks minutes and shares no code with the rule."""

import datetime as dt
import random
import zoneinfo

import pytest

from services.notificationserver.core.quiet import until

UTC = dt.UTC
BERLIN = "Europe/Berlin"
NIGHT = (dt.time(22, 0), dt.time(7, 0))
MINUTE = dt.timedelta(minutes=1)


def is_quiet(moment: dt.datetime, zone: zoneinfo.ZoneInfo, start: dt.time, end: dt.time) -> bool:
    shown = moment.astimezone(zone)
    minute = 60 * shown.hour + shown.minute
    # The minutes since the last start are fewer than the minutes that the quiet hours last.
    length = (60 * end.hour + end.minute - 60 * start.hour - start.minute) % 1440
    return (minute - 60 * start.hour - start.minute) % 1440 < length


def walk(now: dt.datetime, zone: str, start: dt.time, end: dt.time) -> dt.datetime | None:
    clock = zoneinfo.ZoneInfo(zone)
    moment = now
    while is_quiet(moment, clock, start, end):
        moment = moment.replace(second=0, microsecond=0) + MINUTE
    return None if moment == now else moment


@pytest.mark.parametrize("night", [dt.date(2027, 3, 27), dt.date(2027, 10, 30)])
def test_end_is_right_at_each_minute_of_the_nights_in_which_berlin_changes_its_clocks(night: dt.date) -> None:
    noon = dt.datetime.combine(night, dt.time(12), UTC)
    for minutes in range(0, 24 * 60, 7):
        now = noon + minutes * MINUTE
        assert until(now, BERLIN, *NIGHT) == walk(now, BERLIN, *NIGHT)


def test_night_ends_at_seven_on_the_clock_before_and_after_the_change() -> None:
    spring = until(dt.datetime(2027, 3, 27, 23, 0, tzinfo=UTC), BERLIN, *NIGHT)
    autumn = until(dt.datetime(2027, 10, 30, 23, 0, tzinfo=UTC), BERLIN, *NIGHT)
    assert spring == dt.datetime(2027, 3, 28, 5, 0, tzinfo=UTC)
    assert autumn == dt.datetime(2027, 10, 31, 6, 0, tzinfo=UTC)


def test_random_zones_and_instants_agree_with_the_oracle() -> None:
    chance = random.Random(15)
    zones = sorted(zoneinfo.available_timezones() - {"localtime", "Factory"})
    inside = 0
    for _ in range(500):
        zone = chance.choice(zones)
        now = dt.datetime(2000, 1, 1, tzinfo=UTC) + chance.randrange(37 * 365 * 1440) * MINUTE
        start, end = (dt.time(chance.randrange(24), chance.choice((0, 15, 30, 59))) for _ in range(2))
        expected = None if start == end else walk(now, zone, start, end)
        assert until(now, zone, start, end) == expected, (now, zone, start, end)
        inside += expected is not None
    assert inside > 150


def test_instants_around_each_change_of_the_clocks_agree_with_the_oracle() -> None:
    chance = random.Random(2027)
    # Lord Howe changes by 30 minutes. Apia skipped a day.
    changes = {
        "Europe/Berlin": [dt.datetime(2027, 3, 28, 1, tzinfo=UTC), dt.datetime(2027, 10, 31, 1, tzinfo=UTC)],
        "America/New_York": [dt.datetime(2027, 3, 14, 7, tzinfo=UTC), dt.datetime(2027, 11, 7, 6, tzinfo=UTC)],
        "Australia/Lord_Howe": [dt.datetime(2026, 10, 3, 15, 30, tzinfo=UTC), dt.datetime(2027, 4, 3, 15, tzinfo=UTC)],
        "Pacific/Apia": [dt.datetime(2011, 12, 30, 10, tzinfo=UTC)],
        "Africa/Casablanca": [dt.datetime(2027, 2, 7, 2, tzinfo=UTC)],
    }
    for zone, moments in changes.items():
        for moment in moments:
            for _ in range(60):
                now = moment + chance.randrange(-600, 180) * MINUTE
                local = moment.astimezone(zoneinfo.ZoneInfo(zone))
                start, end = ((local + chance.randrange(-150, 150) * MINUTE).time().replace(second=0) for _ in range(2))
                expected = None if start == end else walk(now, zone, start, end)
                assert until(now, zone, start, end) == expected, (now, zone, start, end)


def test_equal_start_and_end_mean_no_quiet_hours() -> None:
    assert until(dt.datetime(2027, 1, 1, tzinfo=UTC), BERLIN, dt.time(7), dt.time(7)) is None


@pytest.mark.parametrize("zone", ["", "Europe/Nowhere", "../../etc/passwd", "Europe", "\0"])
def test_unknown_zone_means_the_default_zone(zone: str) -> None:
    now = dt.datetime(2027, 1, 1, 23, 0, tzinfo=UTC)
    assert until(now, zone, *NIGHT) == until(now, BERLIN, *NIGHT)
    assert until(now, zone, *NIGHT, default_zone="Asia/Tokyo") == until(now, "Asia/Tokyo", *NIGHT)
