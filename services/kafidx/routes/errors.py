"""The responses to requests that fail: JSON for scripts, and an error page for everybody else."""

from collections.abc import Callable
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from services.kafidx.core.query import BadQuery

_FAILED: Final = "kafidx could not make this page."


def add_errors(app: FastAPI, error_page: Callable[..., Response]) -> None:
    """Add the handlers of errors. `error_page` is called with the request, the status, the reason, and the headers."""

    @app.exception_handler(BadQuery)
    async def bad_query(request: Request, error: Exception) -> Response:
        assert isinstance(error, BadQuery)  # noqa: S101 - the handler is registered for this type
        if _is_for_data(request):
            return JSONResponse(error.as_dict(), 400)
        position = "" if error.position is None else f" (at character {error.position + 1})"
        return error_page(request, 400, f"{error.parameter}: {error.reason}{position}")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - the handler is registered for this type
        if _is_for_data(request):
            return JSONResponse({"reason": error.detail}, error.status_code, headers=error.headers)
        return error_page(request, error.status_code, error.detail, error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, _: Exception) -> Response:
        if _is_for_data(request):
            return JSONResponse({"reason": _FAILED}, 500)
        return error_page(request, 500, _FAILED)


def _is_for_data(request: Request) -> bool:
    return request.url.path.endswith(("/data", "/event"))
