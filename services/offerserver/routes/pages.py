"""The pages of the importers. State changes only by POST, which the Guard checks."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse

from services.backbone.pages import Assets, Renderer
from services.backbone.pages.forms import read_form
from services.backbone.pages.render import Site
from services.backbone.pages.schedule import SchedulePages
from services.backbone.schedule import JobPlan, JobState, ScheduleStore, next_time
from services.offerserver.core.charts import line_points
from services.offerserver.core.importer import Importer, OfferSource
from services.offerserver.core.reports import RunReport
from services.offerserver.store.runs import ImporterState, RunOrder, RunStore, RunStoreError

SITE: Final = Site(
    "offerserver",
    (("Importers", "/offers"), ("Schedule", "/schedule")),
    safe="Offers stay in storage as the last run has left them.",
)
PINGDOM: Final = "/pingdom"
_MAX_FORM_BYTES: Final = 4_096
_SEE_OTHER: Final = 303
_MODES: Final = ("dry-run", "accept")
_DONE: Final[Mapping[str, tuple[str, str]]] = {
    "dry-run": ("good", "The next check of beat begins a dry run. Its difference is shown here when it has ended."),
    "accept": ("good", "The next check of beat accepts the run."),
    "waits": ("info", "Nothing was changed: a request waits, or one like it is younger than ten seconds."),
}


class ImporterRow(NamedTuple):
    """An importer on a page."""

    source: OfferSource
    plan: JobPlan
    job: JobState
    state: ImporterState
    last: RunReport | None
    next_ms: int | None
    points: str
    """The numbers of items of the last runs, as a line."""


class ImporterPages:
    """Shows importers and their runs, and orders dry runs and acceptances. `by` names the operator."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        store: RunStore,
        schedule: ScheduleStore,
        importers: Mapping[str, Importer],
        plans: Mapping[str, JobPlan],
        renderer: Renderer,
        *,
        zone: ZoneInfo,
        by: str,
    ) -> None:
        self._store = store
        self._schedule = schedule
        self._sources = {name: importer.source for name, importer in importers.items()}
        self._plans = plans
        self._renderer = renderer
        self._zone = zone
        self._by = by

    async def overview(self, request: Request) -> Response:
        """Show all importers."""
        try:
            rows = [await self._row(source) for source in self._sources.values()]
        except RunStoreError as error:
            return self._away(request, error)
        return self._renderer.page(request.scope, "importers.html", rows=rows)

    async def importer(self, request: Request) -> Response:
        """Show one importer: its runs, its last dry run, and what can be accepted."""
        source = self._sources.get(request.path_params["name"])
        if source is None:
            return self._unknown(request)
        try:
            row = await self._row(source)
            runs = await self._store.history(source.name)
            dry = await self._store.dry_run(source.name)
        except RunStoreError as error:
            return self._away(request, error)
        done = _DONE.get(request.query_params.get("done", ""))
        return self._renderer.page(request.scope, "importer.html", row=row, runs=runs, dry=dry, done=done)

    async def run(self, request: Request) -> Response:
        """Show a run: `dry`, or its number."""
        source = self._sources.get(request.path_params["name"])
        wanted = request.path_params["run"]
        if source is None:
            return self._unknown(request)
        try:
            runs = await self._store.history(source.name)
            dry = await self._store.dry_run(source.name)
        except RunStoreError as error:
            return self._away(request, error)
        found = dry if wanted == "dry" else next((each for each in runs if str(each.number) == wanted), None)
        if found is None:
            return self._renderer.error(
                request.scope, 404, "There is no such run. The last 30 of an importer are kept."
            )
        can_accept = bool(found.digest) and bool(runs) and runs[0].number == found.number
        return self._renderer.page(request.scope, "run.html", source=source, run=found, can_accept=can_accept)

    async def order(self, request: Request) -> Response:
        """Order a dry run, or accept the run whose difference was shown."""
        source, mode = self._sources.get(request.path_params["name"]), request.path_params["mode"]
        if source is None or mode not in _MODES:
            return self._unknown(request)
        digest = (await read_form(request, max_bytes=_MAX_FORM_BYTES)).get("digest", [""])[-1]
        if mode == "accept" and not digest:
            return self._renderer.error(request.scope, 422, "Open the run, and accept the difference that it shows.")
        order = RunOrder("accept", self._by, digest) if mode == "accept" else RunOrder("dry run", self._by)
        try:
            is_requested = await self._schedule.request(source.name, by=self._by, order=order.encode(), what=order.mode)
        except RunStoreError as error:
            return self._away(request, error)
        return RedirectResponse(f"/offers/{source.name}?done={mode if is_requested else 'waits'}", _SEE_OTHER)

    async def _row(self, source: OfferSource) -> ImporterRow:
        runs = await self._store.history(source.name)
        job = await self._schedule.state(source.name)
        plan = self._plans[source.name]
        next_ms = None if job.paused_ms is not None else next_time(plan, self._zone, self._schedule.clock())
        items = [run.counts.items for run in reversed(runs) if not run.is_unchanged]
        state = await self._store.state(source.name)
        return ImporterRow(source, plan, job, state, runs[0] if runs else None, next_ms, line_points(items))

    def _unknown(self, request: Request) -> Response:
        return self._renderer.error(request.scope, 404, "There is no such importer.")

    def _away(self, request: Request, error: Exception) -> Response:
        reason = f"The Redis of the importers does not respond ({type(error).__name__})."
        return self._renderer.error(request.scope, 503, reason, {"Retry-After": "5"})


def create_pages(pages: ImporterPages, schedule: SchedulePages, assets: Assets) -> FastAPI:
    """Build the application of the public port. The caller puts a Guard before it."""
    app = FastAPI(title="Push offers", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)

    def add(method: str, path: str, endpoint: Callable[..., Any]) -> None:
        app.add_api_route(path, endpoint, methods=[method], response_class=HTMLResponse, name=f"{method} {path}")

    add("GET", "/", _to_importers)
    add("GET", "/sidekiq", _to_importers)
    add("GET", "/sidekiq/{page:path}", _to_importers)
    add("GET", PINGDOM, _pingdom)
    add("HEAD", PINGDOM, _pingdom)  # monitors of availability may ask so
    add("GET", "/offers", pages.overview)
    add("GET", "/offers/{name}", pages.importer)
    add("GET", "/offers/{name}/runs/{run}", pages.run)
    add("POST", "/offers/{name}/{mode}", pages.order)
    add("GET", "/schedule", schedule.overview)
    add("GET", "/schedule/{job}", schedule.history)
    add("GET", "/schedule/{job}/{verb}", schedule.confirm)
    add("POST", "/schedule/{job}/{verb}", schedule.change)
    app.mount("/static", assets)
    return app


async def _to_importers() -> Response:
    return RedirectResponse("/offers", 307)


async def _pingdom() -> Response:
    return PlainTextResponse("ok")
