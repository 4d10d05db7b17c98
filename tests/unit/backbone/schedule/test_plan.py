import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.schedule import plan as plans
from services.backbone.schedule.plan import (
    JobPlan,
    JobState,
    RunDecision,
    decide,
    due_times,
    longest_gap_s,
    next_time,
    overdue_s,
)

BERLIN = ZoneInfo("Europe/Berlin")
UTC = ZoneInfo("UTC")
DAY_MS = 86_400_000
LATE_S = 3600.0


def at(text: str) -> int:
    """Return a time in Berlin or with an offset as ms since 1970."""
    moment = dt.datetime.fromisoformat(text)
    return round(1000 * (moment if moment.tzinfo else moment.replace(tzinfo=BERLIN)).timestamp())


def job(cron: str) -> JobPlan:
    return JobPlan("one", cron, "Does one thing.")


def planned(cron: str, first: str, last: str, zone: ZoneInfo = BERLIN) -> list[str]:
    found = due_times(job(cron), zone, after_ms=at(first), until_ms=at(last))
    return [dt.datetime.fromtimestamp(ms / 1000, zone).isoformat() for ms in found]


def state(mark: str) -> JobState:
    return JobState(mark_ms=at(mark))


def test_daily_job_runs_once_in_the_night_without_half_past_two() -> None:
    assert planned("30 2 * * *", "2026-03-28T12:00", "2026-03-30T12:00") == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_daily_job_runs_once_in_the_night_with_two_half_past_twos() -> None:
    assert planned("30 2 * * *", "2026-10-24T12:00", "2026-10-26T12:00") == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-26T02:30:00+01:00",
    ]


@pytest.mark.parametrize("mark", ["02:30:00+02:00", "02:45:00+02:00", "02:00:00+01:00", "02:30:00+01:00"])
def test_daily_job_is_not_repeated_when_a_check_falls_into_the_repeated_hour(mark: str) -> None:
    assert planned("30 2 * * *", f"2026-10-25T{mark}", "2026-10-26T02:00") == []


def test_hourly_job_runs_each_hour_in_both_nights() -> None:
    assert len(planned("0 * * * *", "2026-03-28T23:30", "2026-03-29T05:30")) == 5
    assert len(planned("0 * * * *", "2026-10-24T23:30", "2026-10-25T05:30")) == 7


def test_zone_decides_on_the_planned_times() -> None:
    assert planned("30 2 * * *", "2026-07-01T12:00", "2026-07-02T12:00", UTC) == ["2026-07-02T02:30:00+00:00"]
    assert next_time(job("30 2 * * *"), BERLIN, at("2026-07-01T12:00")) == at("2026-07-02T00:30:00+00:00")


@given(hour=st.integers(0, 23), minute=st.integers(0, 59), begin=st.integers(0, 400 * 24 * 60))
def test_daily_job_runs_once_each_day(hour: int, minute: int, begin: int) -> None:
    first_ms = at("2026-01-01T00:00") + 60_000 * begin
    found = due_times(job(f"{minute} {hour} * * *"), BERLIN, after_ms=first_ms, until_ms=first_ms + 30 * DAY_MS)
    days = [dt.datetime.fromtimestamp(ms / 1000, BERLIN).date() for ms in found]
    assert days == [days[0] + dt.timedelta(days=number) for number in range(len(days))]
    assert len(days) in (29, 30, 31)


CRONS = st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "0 */2 * * *", "15,45 1-3 * * *", "*/20 * * * * *"])


@given(cron=CRONS, begin=st.integers(0, 3 * DAY_MS), cuts=st.lists(st.integers(1, 5 * 3_600_000), min_size=1))
def test_checks_see_each_planned_time_once_whenever_they_look(cron: str, begin: int, cuts: list[int]) -> None:
    first_ms = at("2026-10-23T20:00") + begin
    seen: list[int] = []
    mark_ms = first_ms
    for cut in cuts[:8]:
        now_ms = mark_ms + cut
        while found := due_times(job(cron), BERLIN, after_ms=seen[-1] if seen else first_ms, until_ms=now_ms):
            seen += found
        mark_ms = now_ms
    whole: list[int] = []
    while found := due_times(job(cron), BERLIN, after_ms=whole[-1] if whole else first_ms, until_ms=mark_ms):
        whole += found
    assert seen == whole
    assert seen == sorted(set(seen))
    assert all(first_ms < ms <= mark_ms for ms in seen)


def test_newest_due_time_runs_and_the_others_are_missed() -> None:
    found = decide(job("* * * * *"), state("2026-01-01T12:00"), at("2026-01-01T12:03:20"), zone=BERLIN, late_s=LATE_S)
    assert found == RunDecision((at("2026-01-01T12:01"), at("2026-01-01T12:02")), at("2026-01-01T12:03"))


def test_run_that_is_too_late_is_missed() -> None:
    daily, before = job("30 2 * * *"), state("2026-01-01T12:00")
    latest = decide(daily, before, at("2026-01-02T03:30"), zone=BERLIN, late_s=LATE_S)
    assert latest == RunDecision((), at("2026-01-02T02:30"))
    late = decide(daily, before, at("2026-01-02T03:30:01"), zone=BERLIN, late_s=LATE_S)
    assert late == RunDecision((at("2026-01-02T02:30"),))


def test_nothing_is_due_before_the_first_check() -> None:
    assert decide(job("* * * * *"), JobState(), at("2026-01-01T12:00"), zone=BERLIN, late_s=LATE_S) == RunDecision()


def test_running_job_begins_no_other_run() -> None:
    running = state("2026-01-01T12:00")._replace(is_running=True, requested_ms=5)
    assert decide(job("* * * * *"), running, at("2026-01-01T12:05"), zone=BERLIN, late_s=LATE_S) == RunDecision()


def test_paused_job_runs_only_on_request() -> None:
    paused = state("2026-01-01T12:00")._replace(paused_ms=1)
    now_ms = at("2026-01-01T12:05")
    assert decide(job("* * * * *"), paused, now_ms, zone=BERLIN, late_s=LATE_S) == RunDecision()
    requested = paused._replace(requested_ms=now_ms)
    decision = decide(job("* * * * *"), requested, now_ms, zone=BERLIN, late_s=LATE_S)
    assert decision == RunDecision((), now_ms, is_requested=True)


def test_long_pause_of_all_processes_is_decided_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST_DUE", 3)
    decision = decide(job("* * * * *"), state("2026-01-01T12:00"), at("2026-01-01T12:05"), zone=BERLIN, late_s=LATE_S)
    assert decision == RunDecision(tuple(at(f"2026-01-01T12:0{minute}") for minute in (1, 2, 3)))


@pytest.mark.parametrize(
    ("cron", "gap_s"),
    [
        ("0 */6 * * *", 21_600),
        ("0 3 * * 1-5", 3 * 86_400),  # from Friday to Monday
        ("* 8-17 * * 1-5", 86_400 * 3 - 9 * 3_600 - 59 * 60),
        ("0 0 1 * *", 31 * 86_400),
        ("0 0 29 2 *", 1_461 * 86_400),
    ],
)
def test_longest_gap_between_planned_times_is_found(cron: str, gap_s: float) -> None:
    assert longest_gap_s(JobPlan("job", cron, "Does one thing."), UTC) == gap_s


def test_overdue_is_the_age_of_the_oldest_undecided_time() -> None:
    minutely, now_ms = job("* * * * *"), at("2026-01-01T12:03")
    assert overdue_s(minutely, state("2026-01-01T12:00"), now_ms, zone=BERLIN) == 120.0
    assert overdue_s(minutely, state("2026-01-01T12:03"), now_ms, zone=BERLIN) == 0.0
    assert overdue_s(minutely, state("2026-01-01T12:00")._replace(paused_ms=1), now_ms, zone=BERLIN) == 0.0
    assert overdue_s(minutely, state("2026-01-01T12:00")._replace(is_running=True), now_ms, zone=BERLIN) == 0.0
    assert overdue_s(minutely, JobState(), now_ms, zone=BERLIN) == 0.0


@pytest.mark.parametrize("name", ["", "Upper", "with:colon", "a" * 65])
def test_name_that_could_be_part_of_another_key_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a job"):
        JobPlan(name, "* * * * *", "")


@pytest.mark.parametrize("cron", ["", "* * * *", "61 * * * *", "0 0 30 2 *"])
def test_invalid_plan_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match="is not a plan"):
        job(cron)
