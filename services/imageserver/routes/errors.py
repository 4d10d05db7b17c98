"""Responses of failed requests: JSON with a code and a sentence. No cache keeps them."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
from fastapi import FastAPI, Request, Response
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from services.backbone.logs import get_logger
from services.backbone.mongo import describe
from services.backbone.routing import methods_of
from services.imageserver.core.limits import PictureLimits, sentence
from services.imageserver.core.refusals import ImageRefused, RefusalReason
from services.imageserver.metrics import Metrics

log = get_logger(__name__)

_METHOD_NOT_ALLOWED: Final = 405
ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]
FailurePage = Callable[[Request, int, str, Mapping[str, str]], Response | None]
"""Makes the response for a page, or returns None for a request of the API."""


def failure_response(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response of a failed request."""
    content = msgspec.json.encode({"error": code, "detail": detail})
    return Response(content, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")


def refusal_response(reason: RefusalReason, limits: PictureLimits) -> Response:
    """Return the response for a refusal."""
    headers = {} if reason.retry_after_s is None else {"Retry-After": str(reason.retry_after_s)}
    if reason is RefusalReason.TOO_SLOW:
        headers["Connection"] = "close"  # the rest of the body is not wanted
    return failure_response(reason.status, reason.code, sentence(reason, limits), headers)


def error_handlers(
    app: FastAPI, limits: PictureLimits, metrics: Metrics, page: FailurePage
) -> dict[type[Exception], ErrorHandler]:
    """Return the handlers that turn exceptions of the routes into responses. `app` has the methods of each path."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, ImageRefused)  # noqa: S101 - for mypy
        metrics.refused.labels(error.reason.code).inc()
        return refusal_response(error.reason, limits)

    async def volume_failed(request: Request, error: Exception) -> Response:
        log.warning("volume_failed", route=_route_of(request), error=str(error)[:200])
        return await refused(request, ImageRefused(RefusalReason.VOLUME_AWAY))

    async def unavailable(request: Request, error: Exception) -> Response:
        assert isinstance(error, PyMongoError)  # noqa: S101 - for mypy
        log.warning("database_failed", route=_route_of(request), error=describe(error))
        text, headers = "The database does not respond. Try again.", {"Retry-After": "1"}
        return page(request, 503, text, headers) or failure_response(503, "unavailable", text, headers)

    async def broken(request: Request, _: Exception) -> Response:
        text = "The imageserver failed at this request."
        return page(request, 500, text, {}) or failure_response(500, "internal", text)

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # the client has disconnected and gets no response

    async def not_served(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        if error.status_code != _METHOD_NOT_ALLOWED:
            return page(request, 404, "There is nothing here.", {}) or failure_response(
                error.status_code, "not_found", "There is nothing here."
            )
        methods = ", ".join(methods_of(app, request))
        text, headers = f"{request.method} is not allowed here. Use {methods}.", {"Allow": methods}
        return page(request, 405, text, headers) or failure_response(405, "method_not_allowed", text, headers)

    return {
        ImageRefused: refused,
        OSError: volume_failed,
        PyMongoError: unavailable,
        ClientDisconnect: gone,
        HTTPException: not_served,
        Exception: broken,
    }


def _route_of(request: Request) -> str:
    """Return the path of the route, for logs. The path of the request may have the key of a caller."""
    route = request.scope.get("route")
    return "pictures" if route is None else str(route.path)
