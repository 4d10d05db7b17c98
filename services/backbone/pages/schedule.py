"""The pages of a schedule: the jobs of a service with their last and next run, the history, and the commands.

A service adds the routes: GET /schedule, GET /schedule/{job}, and GET and POST /schedule/{job}/{verb}. A GET of a verb
asks for a confirmation. State changes only by POST, which the Guard checks.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.backbone.pages.forms import read_form
from services.backbone.pages.render import Renderer
from services.backbone.schedule import (
    REQUEST_WINDOW_S,
    JobPlan,
    JobState,
    RunRecord,
    ScheduleStore,
    ScheduleStoreError,
    next_time,
    overdue_s,
)

_SEE_OTHER: Final = 303
_MOST_FORM_BYTES: Final = 4_096
_AUDITED: Final = 20
_LEAST_OVERDUE_S: Final = 60.0
"""A due time waits for the next check of beat, so a younger one is no reason to worry."""
_VERBS: Final = ("run", "pause", "resume")
_CONFIRMED: Final = ("run", "pause")
_DONE: Final[Mapping[str, str]] = {
    "run": "The next check of beat runs the job.",
    "not-run": f"Nothing was changed: a request waits, or one like it is younger than {REQUEST_WINDOW_S:.0f} seconds.",
    "pause": "The job is paused.",
    "not-pause": "Nothing was changed: the job was paused already.",
    "resume": "The job runs again at its next planned time.",
    "not-resume": "Nothing was changed: the job was not paused.",
}


class JobRow(NamedTuple):
    """A job on a page."""

    plan: JobPlan
    state: JobState
    last: RunRecord | None
    next_ms: int | None
    status: str
    kind: str
    """The kind of the tag: good, warn or bad."""


class SchedulePages:
    """Shows the jobs of one service and changes their state. `by` names the operator in the audit list."""

    def __init__(
        self, store: ScheduleStore, plans: Iterable[JobPlan], renderer: Renderer, *, zone: ZoneInfo, by: str
    ) -> None:
        self._store = store
        self._plans = {plan.name: plan for plan in plans}
        self._renderer = renderer
        self._zone = zone
        self._by = by

    async def overview(self, request: Request) -> Response:
        """Show all jobs, and what operators did."""
        try:
            rows = [await self._row(plan, await self._store.last_run(plan.name)) for plan in self._plans.values()]
            audit = await self._store.audit.entries(_AUDITED)
        except ScheduleStoreError as error:
            return self._away(request, error)
        return self._renderer.page(
            request.scope,
            "schedule.html",
            rows=rows,
            zone=self._zone.key,
            audit=audit,
            done=_done(request),
            duration=_duration,
        )

    async def history(self, request: Request) -> Response:
        """Show the last runs of a job."""
        plan = self._plans.get(request.path_params["job"])
        if plan is None:
            return self._unknown(request)
        try:
            runs = await self._store.runs(plan.name)
            row = await self._row(plan, runs[0] if runs else None)
        except ScheduleStoreError as error:
            return self._away(request, error)
        return self._renderer.page(
            request.scope,
            "scheduled_job.html",
            row=row,
            runs=[row.last, *runs[1:]] if row.last else [],
            zone=self._zone.key,
            duration=_duration,
        )

    async def confirm(self, request: Request) -> Response:
        """Ask before a job runs now or is paused."""
        plan, verb = self._plans.get(request.path_params["job"]), request.path_params["verb"]
        if plan is None or verb not in _CONFIRMED:
            return self._unknown(request)
        return self._renderer.page(request.scope, "confirm_job.html", plan=plan, verb=verb)

    async def change(self, request: Request) -> Response:
        """Run a job now, pause it or resume it."""
        name, verb = request.path_params["job"], request.path_params["verb"]
        if name not in self._plans or verb not in _VERBS:
            return self._unknown(request)
        try:
            if verb == "pause":
                changed = await self._store.pause(name, by=self._by, reason=await _reason(request))
            else:
                change = self._store.request if verb == "run" else self._store.resume
                changed = await change(name, by=self._by)
        except ScheduleStoreError as error:
            return self._away(request, error)
        return RedirectResponse(f"/schedule?done={verb if changed else f'not-{verb}'}", _SEE_OTHER)

    async def _row(self, plan: JobPlan, last: RunRecord | None) -> JobRow:
        state = await self._store.state(plan.name)
        if last is not None and last.result == "running" and not state.is_running:
            last = msgspec.structs.replace(last, result="lost")  # no check has recorded the loss yet
        now_ms = self._store.clock()
        next_ms = None if state.paused_ms is not None else next_time(plan, self._zone, now_ms)
        status, kind = _status(state, overdue_s(plan, state, now_ms, zone=self._zone))
        return JobRow(plan, state, last, next_ms, status, kind)

    def _unknown(self, request: Request) -> Response:
        return self._renderer.error(request.scope, 404, "There is no such job.")

    def _away(self, request: Request, error: Exception) -> Response:
        reason = f"The Redis of the schedule does not respond ({type(error).__name__})."
        return self._renderer.error(request.scope, 503, reason, {"Retry-After": "5"})


async def _reason(request: Request) -> str:
    """Return the reason in the form of a pause, on one line. A body that is too large has none."""
    given = (await read_form(request, max_bytes=_MOST_FORM_BYTES)).get("reason", [""])[-1]
    return " ".join(given.split())


def _status(state: JobState, late_s: float) -> tuple[str, str]:
    if state.is_running:
        return "running", "good"
    if state.requested_ms is not None:
        return "requested", "warn"
    if state.paused_ms is not None:
        return "paused", "warn"
    if state.mark_ms is None:
        return "never checked", "bad"
    return ("overdue", "bad") if late_s > _LEAST_OVERDUE_S else ("waits", "good")


def _duration(run: RunRecord) -> str:
    """Return the time from begin to end, or nothing for a run that has none of them."""
    if not run.begun_ms or not run.ended_ms:
        return ""
    return f"{(run.ended_ms - run.begun_ms) / 1000:.1f} s"


def _done(request: Request) -> tuple[str, str]:
    """Return the kind and the text of the notice after a change."""
    done = request.query_params.get("done", "")
    return ("info" if done.startswith("not-") else "good", _DONE.get(done, ""))
