"""The pages of the actions. State changes only by POST, and each is confirmed on a page that states its count."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse

from services.backbone.dead_actions import DeadAction, DeadActionFilter
from services.backbone.names import dead_action_name
from services.backbone.pages import Assets, Renderer
from services.backbone.pages.forms import read_form
from services.backbone.pages.render import Site
from services.backbone.pages.schedule import SchedulePages
from services.consumers.store.actions import ActionStore, ActionStoreError

SITE: Final = Site(
    "actions",
    (("Actions", "/actions"), ("Dead list", "/dead"), ("Schedule", "/schedule")),
    safe="Events stay in Kafka until they are acted on or in the dead list.",
)
PAGE_ROWS: Final = 50
PINGDOM: Final = "/pingdom"
_MAX_FORM_BYTES: Final = 262_144
_SEE_OTHER: Final = 303
_VERBS: Final = ("retry", "delete")
_TIME_MS: Final = re.compile(r"[0-9]{1,15}").fullmatch


class ActionPages:
    """Shows the actions, and changes the dead list. `by` names the operator in the audit list.

    `off`: the handlers that are off, and why.
    """

    def __init__(
        self, store: ActionStore, handlers: Sequence[str], renderer: Renderer, *, by: str, off: Mapping[str, str]
    ) -> None:
        self._off = off
        self._store = store
        self._handlers = tuple(handlers)
        self._renderer = renderer
        self._by = by

    async def overview(self, request: Request) -> Response:
        """Show what each handler has in hand, and the workers."""
        try:
            states = await self._store.overview.states(self._handlers)
            workers = await self._store.overview.workers()
        except ActionStoreError as error:
            return self._redis_away(request, error)
        return self._renderer.page(request.scope, "actions.html", states=states, workers=workers, off=self._off)

    async def dead(self, request: Request) -> Response:
        """Show the dead list, newest first, and what operators did to it."""
        query = request.query_params
        wanted = self._filter(query.get("handler", ""), query.get("q", ""))
        try:
            found = await self._store.dead.page(wanted, _page(query.get("page", "")), rows=PAGE_ROWS)
            audit = await self._store.dead.audit()
        except ActionStoreError as error:
            return self._redis_away(request, error)
        return self._renderer.page(
            request.scope,
            "dead_actions.html",
            rows=found.actions,
            total=found.total,
            wanted=wanted,
            handlers=self._handlers,
            page=found.number,
            pages=found.pages,
            page_url=lambda number: _address("/dead", handler=wanted.handler, q=wanted.text, page=number),
            audit=audit[:PAGE_ROWS],
            done=_done(query.get("done", ""), query.get("count", "")),
        )

    async def change(self, request: Request) -> Response:
        """Retry or delete the chosen actions, or all that match, after a page that states how many these are."""
        form = await read_form(request, max_bytes=_MAX_FORM_BYTES)
        verb = form.get("verb", [""])[0]
        until_ms = form.get("until", [""])[0]
        if verb not in _VERBS or not (until_ms == "" or _TIME_MS(until_ms)):
            return self._renderer.error(request.scope, 422, "Choose what to do with the actions.")
        wanted = self._filter(form.get("handler", [""])[0], form.get("q", [""])[0])
        names, is_all = set(form.get("name", ())), form.get("what", [""])[0] == "all"
        try:
            found = await self._store.dead.find(wanted if is_all else DeadActionFilter())
            # What has died since the confirmation was shown, also again, is not part of it.
            chosen = [
                action
                for action in found
                if (is_all or dead_action_name(action.handler, action.id) in names)
                and action.died_at_ms <= int(until_ms or action.died_at_ms)
            ]
            if verb == "retry":
                chosen = [action for action in chosen if not action.is_invalid]
            if not until_ms:
                return self._confirm(request, verb, wanted, chosen, is_all=is_all)
            change = self._store.dead.retry if verb == "retry" else self._store.dead.delete
            count = await change(chosen, by=self._by)
        except ActionStoreError as error:
            return self._redis_away(request, error)
        address = _address("/dead", handler=wanted.handler, q=wanted.text, done=verb, count=count)
        return RedirectResponse(address, _SEE_OTHER)

    def _confirm(
        self, request: Request, verb: str, wanted: DeadActionFilter, chosen: list[DeadAction], *, is_all: bool
    ) -> Response:
        if not chosen:
            reason = "No action was chosen that is still in the dead list. An invalid event can't be retried."
            return self._renderer.error(request.scope, 422, reason)
        return self._renderer.page(
            request.scope,
            "confirm_actions.html",
            verb=verb,
            wanted=wanted,
            count=len(chosen),
            until_ms=max(action.died_at_ms for action in chosen),
            names=[] if is_all else [dead_action_name(action.handler, action.id) for action in chosen],
        )

    def _filter(self, handler: str, text: str) -> DeadActionFilter:
        """Return the filter. An unknown handler selects its own actions, if any: it may have been removed."""
        return DeadActionFilter(handler.strip()[:200], text.strip()[:200])

    def _redis_away(self, request: Request, error: Exception) -> Response:
        reason = f"The Redis of the actions does not respond ({type(error).__name__})."
        return self._renderer.error(request.scope, 503, reason, {"Retry-After": "5"})


def create_pages(pages: ActionPages, schedule: SchedulePages, assets: Assets) -> FastAPI:
    """Build the application of the public port. The caller puts a Guard before it."""
    app = FastAPI(title="Push actions", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)

    def add(method: str, path: str, endpoint: Callable[..., Any]) -> None:
        app.add_api_route(path, endpoint, methods=[method], response_class=HTMLResponse, name=f"{method} {path}")

    add("GET", "/", _to_actions)
    add("GET", "/sidekiq", _to_actions)
    add("GET", PINGDOM, _pingdom)
    add("GET", "/actions", pages.overview)
    add("GET", "/dead", pages.dead)
    add("POST", "/dead", pages.change)
    add("GET", "/schedule", schedule.overview)
    add("GET", "/schedule/{job}", schedule.history)
    add("GET", "/schedule/{job}/{verb}", schedule.confirm)
    add("POST", "/schedule/{job}/{verb}", schedule.change)
    app.mount("/static", assets)
    return app


async def _to_actions() -> Response:
    return RedirectResponse("/actions", 307)


async def _pingdom() -> Response:
    return PlainTextResponse("ok")


def _page(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len("1000") else 1


def _address(path: str, **parameters: object) -> str:
    query = urlencode({name: value for name, value in parameters.items() if value not in ("", None)})
    return f"{path}?{query}" if query else path


def _done(verb: str, count: str) -> str:
    if verb not in _VERBS or not count.isdigit() or len(count) > len("10000"):
        return ""
    subject = "1 action is" if count == "1" else f"{count} actions are"
    return f"{subject} retried by the consumer." if verb == "retry" else f"{subject} deleted."
