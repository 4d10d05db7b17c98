"""The routes of the public port: every path belongs to the public."""

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
    400: {"description": "The body can't be read."},
    413: {"description": "Over the limit, which the answer names."},
    415: {"description": "A kind of body that is not read here."},
    503: {"description": "Not stored; send it again after Retry-After seconds."},
}


class EveryPath(APIRoute):
    """A route that takes all paths, also those that no pattern matches: line breaks, `*`."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Look at the method only."""
        if scope["type"] != "http":
            return Match.NONE, {}
        match = Match.FULL if scope["method"] in (self.methods or ()) else Match.PARTIAL
        return match, {"endpoint": self.endpoint, "path_params": {}, "route": self}


class BatchRoute(APIRoute):
    """A route that takes its path however many slashes the client writes: `//v1/batch` and `/v1/batch/` too."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Look at method and path."""
        if scope["type"] != "http" or scope["method"] not in (self.methods or ()):
            return Match.NONE, {}
        if normal_path(scope["path"]) != self.path:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self.endpoint, "path_params": {}, "route": self}


def normal_path(path: str) -> str:
    """Return a path with single slashes and none at its end."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def add_routes(app: FastAPI, collector: Collector, batch_paths: Iterable[str]) -> None:
    """Let `collector` answer every request that reaches `app`; a POST to one of `batch_paths` is a batch."""

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
