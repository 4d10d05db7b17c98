"""The routes of the public port: every path belongs to the public."""

from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from services.tracker.routes.collector import Collector

_BATCH_PATHS: Final = ("/batch", "/v1/batch")
"""The second is where the Segment libraries send theirs."""

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


def add_routes(app: FastAPI, collector: Collector) -> None:
    """Let `collector` answer every request that reaches `app`."""

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

    for path in _BATCH_PATHS:
        app.post(path, responses=_STORED)(batch)
    app.router.route_class = EveryPath
    app.api_route("/{path:path}", methods=["GET", "HEAD", "POST"], responses=_STORED)(event)
    app.options("/{path:path}", status_code=204)(preflight)
    app.add_exception_handler(HTTPException, refuse)
