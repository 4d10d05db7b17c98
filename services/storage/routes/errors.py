"""Responses of failed requests: JSON with the reason, and the field or parameter that is wrong."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from pymongo.errors import ExecutionTimeout, PyMongoError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from services.backbone.logs import get_logger
from services.backbone.mongo import describe
from services.backbone.routing import methods_of
from services.storage.core.fields import FieldError, InvalidInput
from services.storage.core.responses import API_VERSION, encode_response
from services.storage.store import ObjectConflict

log = get_logger(__name__)

_RETRY_AFTER: Final = {"Retry-After": "1"}
_METHOD_NOT_ALLOWED: Final = 405


class ApiError(Exception):
    """A request fails with this status."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(encode_response(content), status, dict(headers or {}), "application/json")


def error_response(
    status: int,
    code: str,
    detail: str,
    *,
    fields: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the response of a failed request."""
    content: dict[str, Any] = {"version": API_VERSION, "error": code, "detail": detail}
    if fields:
        content["fields"] = [error._asdict() for error in fields]
    return json_response(content, status, headers)


def add_error_handlers(app: FastAPI) -> None:
    """Turn each exception of the routes into its response."""

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, InvalidInput)  # noqa: S101 - for mypy
        return error_response(422, "invalid", str(error), fields=error.errors)

    async def failed(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)  # noqa: S101 - as above
        return error_response(error.status, error.code, str(error))

    async def unavailable(request: Request, error: Exception) -> Response:
        assert isinstance(error, PyMongoError)  # noqa: S101 - for mypy
        # Not the path and not the text of the error: both may have a device id.
        log.warning("database_failed", route=request.scope["route"].path, error=describe(error))
        return error_response(503, "unavailable", "the database does not respond; try again", headers=_RETRY_AFTER)

    async def too_slow(_: Request, __: Exception) -> Response:
        detail = "the list takes too long; ask for a smaller region, an owner or a rarer keyword"
        return error_response(503, "too_slow", detail, headers=_RETRY_AFTER)

    async def conflict(_: Request, error: Exception) -> Response:
        return error_response(503, "busy", str(error), headers=_RETRY_AFTER)

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # the client has disconnected and gets no response

    async def not_served(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        if error.status_code != _METHOD_NOT_ALLOWED:
            return error_response(error.status_code, "not_found", f"there is nothing at {request.url.path}")
        methods = ", ".join(methods_of(app, request))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": f"{methods}, OPTIONS"})
        detail = f"{request.method} is not allowed here. Use {methods}."
        return error_response(405, "method_not_allowed", detail, headers={"Allow": methods})

    app.add_exception_handler(InvalidInput, invalid)
    app.add_exception_handler(ApiError, failed)
    app.add_exception_handler(PyMongoError, unavailable)
    app.add_exception_handler(ExecutionTimeout, too_slow)
    app.add_exception_handler(ObjectConflict, conflict)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(HTTPException, not_served)
