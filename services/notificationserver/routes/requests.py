"""Read requests, and the responses of failed ones: JSON with the reason."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from fastapi import Request, Response

_BODY_TIMEOUT_S: Final = 30.0
_MAX_FIELDS: Final = 1_000
_FORM: Final = "application/x-www-form-urlencoded"


class RequestFailed(Exception):
    """A request fails with this status."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        fields: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.fields = dict(fields or {})
        """The reason for each wrong field."""
        self.headers = dict(headers or {})


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(msgspec.json.encode(content), status, dict(headers or {}), "application/json")


def failure_response(failure: RequestFailed) -> Response:
    """Return the response of a failed request."""
    content: dict[str, Any] = {"status": "error", "error": failure.code, "detail": str(failure)}
    if failure.fields:
        content["fields"] = [{"field": name, "detail": reason} for name, reason in failure.fields.items()]
    return json_response(content, failure.status, failure.headers)


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Return the body. Raises RequestFailed (408, 413)."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for piece in request.stream():
                body += piece
                if len(body) > max_bytes:
                    raise RequestFailed(413, "too_large", f"the body has more than {max_bytes} bytes")
    except TimeoutError:
        raise RequestFailed(408, "timeout", f"the body was not complete within {_BODY_TIMEOUT_S:g} s") from None
    return bytes(body)


async def read_fields(request: Request, *, max_bytes: int) -> dict[str, Any]:
    """Return the fields of a JSON object or a form. Of a repeated field the last value counts.

    Raises RequestFailed (400, 408, 413, 415).
    """
    body = await read_body(request, max_bytes=max_bytes)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("", _FORM):
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict"))
        except ValueError:
            raise RequestFailed(400, "malformed", f"the form is not UTF-8 or has over {_MAX_FIELDS} fields") from None
    if kind != "application/json":
        raise RequestFailed(415, "unsupported", f"send JSON or {_FORM}, not {kind[:100]!r}")
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestFailed(400, "malformed", f"the body is not a JSON object: {error}") from None


def wants_page(request: Request) -> bool:
    """Return whether the client is a browser that expects a page."""
    return "text/html" in request.headers.get("accept", "")
