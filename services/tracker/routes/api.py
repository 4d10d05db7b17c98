"""The routes of the public port. Every path accepts events."""

import re
from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from services.tracker.routes.collector import Collector

_SLASHES: Final = re.compile("//+")

_STORED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Stored.",
        "content": {"application/json": {"example": {"status": "ok"}}, "image/gif": {}},
    },
    400: {"description": "The body is malformed."},
    413: {"description": "The request is over a limit; the response names the limit."},
    415: {"description": "The content type or encoding is not supported."},
    503: {"description": "Not stored. Send it again after Retry-After seconds."},
}


class EveryPath(APIRoute):
    """A route for all paths, also for those that no path pattern matches: paths with line breaks, and `*`."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match by the method only."""
        if scope["type"] != "http":
            return Match.NONE, {}
        match = Match.FULL if scope["method"] in (self.methods or ()) else Match.PARTIAL
        return match, {"endpoint": self.endpoint, "path_params": {}, "route": self}


class BatchRoute(APIRoute):
    """A route that ignores repeated and trailing slashes: `//v1/batch` and `/v1/batch/` also match."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match by the method and the normal path."""
        if scope["type"] != "http" or scope["method"] not in (self.methods or ()):
            return Match.NONE, {}
        if normal_path(scope["path"]) != self.path:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.endpoint, "path_params": {}, "route": self}


def normal_path(path: str) -> str:
    """Return a path without repeated and trailing slashes."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def add_routes(app: FastAPI, collector: Collector, batch_paths: Iterable[str]) -> None:
    """Route every request of `app` to `collector`. A POST to one of `batch_paths` is a batch."""

    async def batch(request: Request) -> Response:
        """Store many events: a JSON array, {"events": [...]}, {"batch": [...]} or NDJSON, also gzip."""
        return await collector.collect_batch(request)

    async def event(request: Request) -> Response:
        """Store one event, whose type is the last segment of the path."""
        return await collector.collect(request)

    async def preflight(request: Request) -> Response:
        """Allow any page to send events."""
        return await collector.preflight(request)

    async def refuse(request: Request, _: Exception) -> Response:
        return await collector.refuse_method(request)

    app.router.route_class = BatchRoute
    for path in dict.fromkeys(map(normal_path, batch_paths)):
        app.post(path, responses=_STORED)(batch)
    app.router.route_class = EveryPath
    app.api_route("/{path:path}", methods=["GET", "HEAD", "POST"], responses=_STORED)(event)
    app.options("/{path:path}", status_code=204)(preflight)
    app.add_exception_handler(HTTPException, refuse)
