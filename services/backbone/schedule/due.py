"""DueJobs: which jobs need a check at once, because a planned time or a request of an operator has come.

Pure: no I/O, no clock.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zoneinfo import ZoneInfo

from services.backbone.schedule.plan import JobPlan, JobState, next_time


class _Next(NamedTuple):
    mark_ms: int
    planned_ms: int | None


class DueJobs:
    """Finds due jobs, and names each due time once.

    A check that is lost, or that waits for a free worker, is not repeated here. So no checks gather while all workers
    are busy. The regular checks of beat find what was lost.
    """

    def __init__(self, plans: Iterable[JobPlan], zone: ZoneInfo) -> None:
        self._plans = {plan.name: plan for plan in plans}
        self._zone = zone
        self._next: dict[str, _Next] = {}
        self._named: dict[str, int] = {}

    def find(self, states: Mapping[str, JobState], now_ms: int) -> list[str]:
        """Return the names of the jobs that became due since the last call. A job that runs is not due."""
        found = []
        for name, state in states.items():
            due_ms = self._due(self._plans[name], state, now_ms)
            if due_ms is not None and self._named.get(name) != due_ms:
                self._named[name] = due_ms
                found.append(name)
        return found

    def _due(self, plan: JobPlan, state: JobState, now_ms: int) -> int | None:
        """Return what identifies the due run of a job: the time of its request, or its oldest planned time."""
        if state.is_running:
            return None
        if state.mark_ms is None:
            return 0  # a new job: its first check begins the planning
        if state.requested_ms is not None:
            return state.requested_ms
        if state.paused_ms is not None:
            return None
        known = self._next.get(plan.name)
        if known is None or known.mark_ms != state.mark_ms:
            known = self._next[plan.name] = _Next(state.mark_ms, next_time(plan, self._zone, state.mark_ms))
        return known.planned_ms if known.planned_ms is not None and known.planned_ms <= now_ms else None
