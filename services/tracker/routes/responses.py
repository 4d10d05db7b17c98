"""What the tracker answers: bodies and headers, as bytes.

Any page on any origin may send events and read the answer; none may send credentials. Answers are never cached: the
next request must reach the tracker.
"""

import re
from http import HTTPStatus
from typing import Any, Final

import msgspec

GIF: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00"
    b"\x00\x02\x02D\x01\x00;"
)
"""One transparent pixel in 43 bytes."""
OK: Final = b'{"status":"ok"}'

METHODS: Final = "GET, HEAD, OPTIONS, POST"
HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"access-control-allow-origin", b"*"),
    # A page that isolates itself (Cross-Origin-Embedder-Policy) may still show the image.
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"x-content-type-options", b"nosniff"),
)
RETRY_AFTER: Final = (b"retry-after", b"2")

_HEADER_NAMES: Final = re.compile(rb"[A-Za-z0-9!#$&'*+.^_`|~-]+(?:\s*,\s*[A-Za-z0-9!#$&'*+.^_`|~-]+)*")
_LONGEST_HEADER_NAMES: Final = 1024


def error(code: str, detail: str, **fields: Any) -> bytes:
    """Make the body of an answer that is not 2xx."""
    return msgspec.json.encode({"status": "error", "error": code, "detail": detail, **fields})


def not_stored(reason: str) -> bytes:
    """Make the body of a 503."""
    return error(reason, "not stored; send it again, with the same id if it has one")


def whole(status: int, body: bytes, content_type: bytes, *extra: tuple[bytes, bytes], keep_alive: bool) -> bytes:
    """Make a whole answer, as the application and its server would: the same headers in the same order."""
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", content_type), *HEADERS, *extra]
    if not keep_alive:
        headers.append((b"connection", b"close"))
    lines = [b"HTTP/1.1 %d %s" % (status, reason_phrase(status)), *(b"%s: %s" % header for header in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def too_large(what: str, max_event_bytes: int) -> bytes:
    """Make the body of a 413 for a head that never became a request."""
    detail = f"{what} are over the limit of {max_event_bytes} bytes (MAX_EVENT_BYTES)"
    return error("too_large", detail, limit=max_event_bytes)


def preflight_headers(requested: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Allow what a page asks to send (Fetch, 4.8); the names come back since older browsers don't know `*`."""
    requested = requested.strip()
    named = len(requested) <= _LONGEST_HEADER_NAMES and _HEADER_NAMES.fullmatch(requested)
    return (
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", requested if named else b"*"),
        (b"access-control-max-age", b"86400"),
    )


def reason_phrase(status: int) -> bytes:
    """Return the phrase of a status line."""
    return HTTPStatus(status).phrase.encode()
