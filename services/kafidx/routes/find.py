"""The search for one event: `/find` is the page, `/find/data` the same as JSON."""

import asyncio
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from services.backbone.pages import Renderer
from services.kafidx.core.find_query import parse_find
from services.kafidx.core.query import BadQuery, parse_whole
from services.kafidx.store.find import Finder, FinderBusy

DEFAULT_MINUTES: Final = 15
MOST_MINUTES: Final = 1440
_BUSY: Final = "Another search is running. Try again in a few seconds."
_RETRY_S: Final = "5"
_STATES: Final = {
    "found": "found",
    "not_here": "not here",
    "unknown": "unknown",
    "not_searched": "not searched to the end",
}


def add_find(app: FastAPI, renderer: Renderer, finder: Finder) -> None:
    """Add both routes. Their query is `q`, an id or a curl line, and `since`, minutes from 1 to 1440."""

    def page(request: Request, status: int, q: str, **context: Any) -> Response:
        defaults = {"found": None, "notice": None, "wrong": None, "states": _STATES, "default_minutes": DEFAULT_MINUTES}
        return renderer.page(request.scope, "find.html", status, q=q, **(defaults | context))

    @app.get("/find", response_class=HTMLResponse)
    async def find_page(request: Request) -> Response:
        given = request.query_params
        q, since = given.get("q", ""), given.get("since", "")
        if "q" not in given:
            return page(request, 200, "", since=since)
        try:
            return page(request, 200, q, since=since, found=await _find(finder, request))
        except BadQuery as error:
            return page(request, 400, q[:1000], since=since[:20], notice=error.reason, wrong=error.parameter)
        except FinderBusy:
            response = page(request, 503, q, since=since, notice=_BUSY)
            response.headers["Retry-After"] = _RETRY_S
            return response

    @app.get("/find/data")
    async def find_data(request: Request) -> Response:
        try:
            return JSONResponse(await _find(finder, request))
        except FinderBusy:
            return JSONResponse({"reason": _BUSY}, 503, headers={"Retry-After": _RETRY_S})


async def _find(finder: Finder, request: Request) -> dict[str, Any]:
    """Search for the event of a request. The search stops when the client closes its connection."""
    since = request.query_params.get("since", "")
    query = parse_find(request.query_params.get("q", ""))
    minutes = parse_whole("since", since, highest=MOST_MINUTES) if since else None
    if minutes == 0:
        raise BadQuery("since", 0, f"0 is too low. Write minutes from 1 to {MOST_MINUTES}", since)
    search = asyncio.create_task(finder.find(query, since_minutes=minutes, default_minutes=DEFAULT_MINUTES))
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((search, gone), return_when=asyncio.FIRST_COMPLETED)
        if not search.done():
            raise FinderBusy  # nobody reads the response
        return search.result()
    finally:
        for task in (search, gone):
            task.cancel()
        await asyncio.gather(search, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
