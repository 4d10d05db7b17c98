"""The body of a form that a page sends."""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

from fastapi import Request

FormFields = Mapping[str, Sequence[str]]
"""The values of each field, in their order. A field without a value is missing."""


async def read_form(request: Request, *, max_bytes: int) -> FormFields:
    """Return the fields of a sent form. A body of more than `max_bytes` has none, and is read no further."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > max_bytes:
            return {}
    return parse_qs(body.decode("utf-8", "replace"))
