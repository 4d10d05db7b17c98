from zoneinfo import ZoneInfo

from services.backbone.schedule.due import DueJobs
from services.backbone.schedule.plan import JobPlan, JobState

MINUTE_MS = 60_000
PLAN = JobPlan("one", "* * * * *", "Does one thing.")
OTHER = JobPlan("other", "0 0 1 1 *", "Does another thing.")


def found(due: DueJobs, state: JobState, now_ms: int) -> list[str]:
    return due.find({"one": state, "other": JobState(mark_ms=0)}, now_ms)


def due_jobs() -> DueJobs:
    return DueJobs([PLAN, OTHER], ZoneInfo("UTC"))


def test_each_planned_time_is_named_once() -> None:
    due, state = due_jobs(), JobState(mark_ms=0)
    assert found(due, state, MINUTE_MS - 1) == []
    assert found(due, state, MINUTE_MS) == ["one"]
    assert found(due, state, MINUTE_MS + 500) == []
    assert found(due, state, 10 * MINUTE_MS) == []  # no worker took it: a further check would wait as well
    assert found(due, JobState(mark_ms=MINUTE_MS), MINUTE_MS + 500) == []
    assert found(due, JobState(mark_ms=MINUTE_MS), 2 * MINUTE_MS) == ["one"]


def test_job_that_runs_is_named_when_it_has_ended() -> None:
    due = due_jobs()
    assert found(due, JobState(mark_ms=MINUTE_MS, is_running=True), 5 * MINUTE_MS) == []
    assert found(due, JobState(mark_ms=MINUTE_MS), 5 * MINUTE_MS) == ["one"]


def test_paused_job_is_due_at_a_request_only() -> None:
    due = due_jobs()
    assert found(due, JobState(mark_ms=0, paused_ms=1), MINUTE_MS) == []
    assert found(due, JobState(mark_ms=0, paused_ms=1, requested_ms=70_000), 70_100) == ["one"]
    assert found(due, JobState(mark_ms=0, paused_ms=1, requested_ms=70_000), 70_600) == []


def test_new_job_is_named_so_that_its_planning_begins() -> None:
    due = due_jobs()
    assert found(due, JobState(), 5) == ["one"]
    assert found(due, JobState(), 500) == []
