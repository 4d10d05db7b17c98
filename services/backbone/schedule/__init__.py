"""The periodic jobs of a service: when they are planned, what became of each run, and their operators' commands.

Celery beat sends a check of each job every few seconds; it holds no plan. A check, in a Celery worker, computes which
planned times are due since the last one, and begins the newest of them.
A service has a JobPlan for each job, a JobExecutor behind the task `SCHEDULE_CHECK_TASK` of its workers, a process that
runs `backbone.beat.run_beat`, and `backbone.pages.schedule.SchedulePages`. They share one ScheduleStore.

Promise: Each planned run begins at most once, however many beats, workers and late checks there are, because it is
taken by SET NX on (job, planned time). A run that nobody began in time is recorded as missed, and one without an end
after its time limit as lost. A lost check loses nothing: the next one does the same.
"""

from services.backbone.schedule.plan import JobPlan, JobState, ScheduledJob, longest_gap_s, next_time, overdue_s
from services.backbone.schedule.store import (
    REQUEST_WINDOW_S,
    RunRecord,
    ScheduleStore,
    ScheduleStoreError,
)

__all__ = [
    "REQUEST_WINDOW_S",
    "JobPlan",
    "JobState",
    "RunRecord",
    "ScheduleStore",
    "ScheduleStoreError",
    "ScheduledJob",
    "longest_gap_s",
    "next_time",
    "overdue_s",
]
