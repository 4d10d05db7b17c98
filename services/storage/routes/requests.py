"""Read requests: the parameters of a query, bodies with a size limit, and conditions."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from fastapi import Request

from services.storage.core.access import Caller
from services.storage.core.extras import InvalidValue
from services.storage.core.fields import FieldError, InvalidInput, parse_text
from services.storage.core.filters import Parameters
from services.storage.core.forms import parse_form
from services.storage.routes.errors import ApiError

CALLER: Final = "push.caller"
"""The key of the caller in the scope of a request."""
_MAX_PARAMETERS: Final = 1_000
_MAX_QUERY_BYTES: Final = 65_536
_PIECE_BYTES: Final = 262_144
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"


def caller_of(request: Request) -> Caller:
    """Return the caller that the access control found."""
    caller: Caller = request.scope[CALLER]
    return caller


def parameters_of(request: Request) -> Parameters:
    """Return the values of each parameter of the query. Raises InvalidInput."""
    raw: bytes = request.scope["query_string"]
    if len(raw) > _MAX_QUERY_BYTES:
        raise InvalidInput(FieldError("query", f"has more than {_MAX_QUERY_BYTES} bytes"))
    parameters: dict[str, list[str]] = {}
    for name, value in _pairs(raw, "query"):
        parameters.setdefault(name, []).append(value)
    return parameters


def _pairs(text: bytes, field: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text.decode(), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict")
    except UnicodeDecodeError:
        raise InvalidInput(FieldError(field, "is not UTF-8")) from None
    except ValueError:
        raise InvalidInput(FieldError(field, f"has more than {_MAX_PARAMETERS} parameters")) from None


def text_parameter(value: object, field: str, *, most: int) -> str:
    """Return a text that must not be empty. Raises InvalidInput."""
    try:
        return parse_text(value, most=most, empty=False)
    except InvalidValue as error:
        raise InvalidInput(FieldError(field, str(error))) from None


def has_object(request: Request) -> bool:
    """Return whether the body is an object by its media type: JSON or a form."""
    return _media_type(request) in (_JSON, _FORM)


async def read_object(request: Request, *, max_bytes: int, timeout_s: float) -> dict[str, Any]:
    """Return the JSON object of the body, or the object of a form. Raises ApiError (400, 408, 413) or InvalidInput."""
    body = bytearray()
    async for piece in body_pieces(request, max_bytes=max_bytes, timeout_s=timeout_s):
        body += piece
    # Some clients send JSON under the media type of forms, for example curl by default.
    if _media_type(request) == _FORM and not body.lstrip().startswith(b"{"):
        return parse_form(_pairs(bytes(body), "body"))
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise ApiError(400, "malformed", f"the body is not a JSON object: {error}") from None


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def body_pieces(request: Request, *, max_bytes: int, timeout_s: float) -> AsyncIterator[bytes]:
    """Yield the body in pieces of about 256 kB. Raises ApiError (408, 413)."""
    received, piece = 0, bytearray()
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise ApiError(408, "timeout", f"no part of the body arrived within {timeout_s:g} s") from None
        if chunk is None:
            break
        received += len(chunk)
        if received > max_bytes:
            raise ApiError(413, "too_large", f"the body has more than {max_bytes} bytes")
        piece += chunk
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def has_tag(header: str | None, version: int, *, weak: bool = False) -> bool:
    """Return whether a list of entity tags (If-Match, If-None-Match) has the version, or is `*`.

    `weak`: the comparison of If-None-Match (RFC 9110), for which `W/"1"` is `"1"`. A proxy that compresses sends such
    tags.
    """
    if header is None:
        return False
    tags = {tag.strip() for tag in header.split(",")}
    if weak:
        tags = {tag.removeprefix("W/") for tag in tags}
    return "*" in tags or etag(version) in tags


def check_if_match(header: str | None, version: int) -> None:
    """Raise ApiError (412) unless If-Match is absent or has the version (RFC 9110)."""
    if header is not None and not has_tag(header, version):
        raise ApiError(412, "changed", f"If-Match does not name version {version} of the object: read it again")
