"""The tracker's responses: bodies and headers as bytes.

Pages of every origin may send events and read the response, without credentials. Responses are never cached, so each
request reaches the tracker.
"""

import asyncio
import contextlib
import re
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import Response
from starlette.types import Receive, Scope, Send

GIF: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00"
    b"\x00\x02\x02D\x01\x00;"
)
"""A transparent GIF of one pixel, 43 bytes."""
OK: Final = b'{"status":"ok"}'

METHODS: Final = "GET, HEAD, OPTIONS, POST"
METHOD_NOT_ALLOWED: Final = msgspec.json.encode(
    {"status": "error", "error": "method", "detail": f"the method is not supported; use {METHODS}"}
)
HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"access-control-allow-origin", b"*"),
    # Lets a page with a Cross-Origin-Embedder-Policy show the image.
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"x-content-type-options", b"nosniff"),
)
RETRY_AFTER: Final = (b"retry-after", b"2")

# The rest of a refused body is read up to these bounds. A client whose connection closes while it sends may lose the
# response.
_LINGER_BYTES: Final = 4_194_304
_LINGER_S: Final = 1.0

_HEADER_NAMES: Final = re.compile(rb"[A-Za-z0-9!#$&'*+.^_`|~-]+(?:\s*,\s*[A-Za-z0-9!#$&'*+.^_`|~-]+)*")
_LONGEST_HEADER_NAMES: Final = 1024


def error(code: str, detail: str, **fields: Any) -> bytes:
    """Build the body of a response that is not 2xx."""
    return msgspec.json.encode({"status": "error", "error": code, "detail": detail, **fields})


def not_stored(reason: str) -> bytes:
    """Build the body of a 503."""
    return error(reason, "not stored; send it again, with the same id if it has one")


def whole(status: int, body: bytes, content_type: bytes, *extra: tuple[bytes, bytes], keep_alive: bool) -> bytes:
    """Build a complete response with the same headers, in the same order, as the application and uvicorn send."""
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", content_type), *HEADERS, *extra]
    if not keep_alive:
        headers.append((b"connection", b"close"))
    lines = [b"HTTP/1.1 %d %s" % (status, reason_phrase(status)), *(b"%s: %s" % header for header in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def too_large(what: str, max_event_bytes: int) -> bytes:
    """Build the body of a 413 for a head that is over the limit."""
    detail = f"{what} are over the limit of {max_event_bytes} bytes (MAX_EVENT_BYTES)"
    return error("too_large", detail, limit=max_event_bytes)


def preflight_headers(requested: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return headers that allow the requested ones (Fetch, 4.8), by name, since older browsers do not know `*`."""
    requested = requested.strip()
    named = len(requested) <= _LONGEST_HEADER_NAMES and _HEADER_NAMES.fullmatch(requested)
    return (
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", requested if named else b"*"),
        (b"access-control-max-age", b"86400"),
    )


def reason_phrase(status: int) -> bytes:
    """Return the reason phrase of a status."""
    return HTTPStatus(status).phrase.encode()


class ClosingResponse(Response):
    """A response that may be sent before the request's body has ended. The connection closes after it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the response, then read the rest of the body within bounds, so that the client reads the response."""
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        read_bytes = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while read_bytes < _LINGER_BYTES:
                    message = await receive()
                    read_bytes += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        break
        await send({"type": "http.response.body", "body": b"", "more_body": False})
