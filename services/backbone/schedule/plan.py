"""When a periodic job is planned, and what a check of it must do. Pure: no I/O, no clock.

Times are in ms since 1970. A planned time is a whole second, and identifies the run of a job.
"""

import datetime as dt
import itertools
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MOST_DUE: Final = 1_000
"""The most planned times that one check decides on. After a long pause of all processes, the next checks continue."""
_SOME_DAY: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_YEAR_S: Final = 366 * 86_400
_MINUTES_OF_A_WEEK: Final = 10_080


@dataclass(frozen=True)
class JobPlan:
    """A periodic job. Raises ValueError if its name or its plan is invalid."""

    name: str
    """Lower-case letters, digits and underscores."""
    cron: str
    """The planned times in the zone of the schedule: minute, hour, day of month, month, day of week. With six fields,
    the first one is the second.

    In a night with a change of the clock, the rules of Debian's cron apply. If there are five fields, and neither the
    minute nor the hour begins with a star, a job runs once at each of its times. At a time that does not exist, it runs
    when the clock has moved forward. Of two equal times, it runs at the first. Every other job follows the clock, so an
    hourly one runs each hour."""
    purpose: str
    """One sentence for operators."""

    def __post_init__(self) -> None:
        if re.fullmatch(r"[a-z0-9_]{1,64}", self.name) is None:
            raise ValueError(f"{self.name!r} is not the name of a job: use lower-case letters, digits and underscores")
        try:
            CronSim(self.cron, _SOME_DAY)
        except CronSimError as error:
            raise ValueError(f"{self.name}: {self.cron!r} is not a plan: {error}") from None


class ScheduledJob(NamedTuple):
    """A plan and what it runs."""

    plan: JobPlan
    run: Callable[[], Coroutine[Any, Any, str]]
    """Does the work, and returns one sentence for the history. An exception is a failed run.

    It must be safe to run again, because a run whose worker is killed is lost in the middle.
    """
    follow: Callable[[str], Coroutine[Any, Any, str]] | None = None
    """Does what an operator ordered with a request, instead of `run`. The rest is as for `run`."""


class JobState(NamedTuple):
    """What is known of a job, without its history."""

    mark_ms: int | None = None
    """Planned times up to it are decided: run, missed, or skipped by a pause. None before the first check."""
    since_ms: int = 0
    """The time of the first check."""
    paused_ms: int | None = None
    paused_reason: str = ""
    requested_ms: int | None = None
    """The time of a request of an operator to run the job now, which no worker has taken yet."""
    requested_by: str = ""
    order: str = ""
    """What the operator ordered with the request, in the format of the job. Empty: its usual work."""
    current_ms: int | None = None
    """The planned time of a run without an end."""
    is_running: bool = False
    """Whether the run without an end is within its time limit. If it is not, the run is lost."""
    succeeded_ms: int | None = None
    """When the last successful run ended."""
    counts: Mapping[str, int] = {}
    """The number of ends by result, since the first check."""


class RunDecision(NamedTuple):
    """What a check does: record missed times, then begin a run."""

    missed: tuple[int, ...] = ()
    planned_ms: int | None = None
    """The run to begin; None for none."""
    is_requested: bool = False
    """Whether an operator has requested it."""


def due_times(plan: JobPlan, zone: ZoneInfo, *, after_ms: int, until_ms: int) -> list[int]:
    """Return the planned times after `after_ms` and up to `until_ms`, ascending: the first MOST_DUE of them."""
    found: list[int] = []
    for planned_ms in _planned_after(plan, zone, after_ms):
        if planned_ms > until_ms or len(found) == MOST_DUE:
            break
        found.append(planned_ms)
    return found


def next_time(plan: JobPlan, zone: ZoneInfo, after_ms: int) -> int | None:
    """Return the first planned time after `after_ms`; None if there is none within 50 years."""
    return next(_planned_after(plan, zone, after_ms), None)


def longest_gap_s(plan: JobPlan, zone: ZoneInfo) -> float:
    """Return the longest time between two planned times, such as that of a weekend; 0 if it is planned once or never.

    It looks at the times of a year, or at those of a shorter time if there are more than a week has minutes.
    """
    longest_ms, begin_ms = 0, round(1000 * _SOME_DAY.timestamp())
    times = itertools.islice(_planned_after(plan, zone, begin_ms), _MINUTES_OF_A_WEEK + 1)
    for one, other in itertools.pairwise(times):
        longest_ms = max(longest_ms, other - one)
        if other - begin_ms > 1000 * _YEAR_S:
            break
    return longest_ms / 1000


def decide(plan: JobPlan, state: JobState, now_ms: int, *, zone: ZoneInfo, late_s: float) -> RunDecision:
    """Return what a check at `now_ms` does.

    Of all due times the newest one runs, if it is at most `late_s` old; the others are missed. So a job does not run
    several times in a row after an outage. While a run lasts, the next one waits. While a job is paused, only a request
    of an operator runs it.
    """
    if state.is_running:
        return RunDecision()
    due: list[int] = []
    if state.paused_ms is None and state.mark_ms is not None:
        due = due_times(plan, zone, after_ms=state.mark_ms, until_ms=now_ms)
    is_newest_known = len(due) < MOST_DUE
    if due and is_newest_known and now_ms - due[-1] <= 1000 * late_s:
        return RunDecision(tuple(due[:-1]), due[-1])
    return RunDecision(tuple(due), state.requested_ms, is_requested=state.requested_ms is not None)


def overdue_s(plan: JobPlan, state: JobState, now_ms: int, *, zone: ZoneInfo) -> float:
    """Return the age in seconds of the oldest due time that is neither run nor missed; 0 if there is none.

    A job that runs or is paused has none.
    """
    if state.is_running or state.paused_ms is not None or state.mark_ms is None:
        return 0.0
    oldest_ms = next_time(plan, zone, state.mark_ms)
    return max(0.0, (now_ms - oldest_ms) / 1000) if oldest_ms is not None else 0.0


def _planned_after(plan: JobPlan, zone: ZoneInfo, after_ms: int) -> Iterator[int]:
    """Yield the planned times after `after_ms`, each once.

    Within a repeated hour the library begins again at the first of two equal times, which may be before `after_ms`.
    """
    last_ms = after_ms
    for planned in CronSim(plan.cron, dt.datetime.fromtimestamp(after_ms // 1000, zone)):
        planned_ms = round(1000 * planned.timestamp())
        if planned_ms > last_ms:
            last_ms = planned_ms
            yield planned_ms
