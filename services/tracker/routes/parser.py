"""httptools' parser, set up for a server that decides on its own about versions, closing and upgrades.

By default llhttp 9 (httptools 0.9) accepts more than RFC 9112 lets a server process. `core.head_error` and
CollectorProtocol refuse or ignore:

- HTTP/0.9 and HTTP/2.0 in the request line, a request line without a version;
- no Host, several, or one that is not a host;
- codings before `chunked`, empty ones too, and a Transfer-Encoding in HTTP/1.0; and of an invalid Transfer-Encoding
  it reports the head as complete first, and the error later;
- fields behind a chunked body (trailers), as if they were part of the head. A `Connection: close` among them makes
  the parser drop the next request.

The tracker leaves these as they are, since they can be read in one way only: several spaces in the request line, empty
lines before it, RTSP/1.0 in place of HTTP/1.0 (with the same framing), chunk extensions, zeros before a size.
"""

from collections.abc import Sequence

import httptools

from services.tracker.core import HeadError


class HeadRefused(Exception):
    """Raised in a callback: stops the parser at the end of a head that must not be processed."""

    def __init__(self, error: HeadError) -> None:
        super().__init__(error.detail)
        self.error = error


class ConnectionEnded(Exception):
    """Raised in a callback: stops the parser behind the last request of a connection."""


def create_parser(protocol: object) -> httptools.HttpRequestParser:
    """Create a parser that leaves versions and the end of the connection to the protocol."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_keep_alive=True, lenient_version=True)
    return parser


def head_without_upgrade(
    parser: httptools.HttpRequestParser, target: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """Decline the offer to speak another protocol (RFC 9110, 7.8), which Java's client makes with each request.

    The parser takes what follows such a head for that other protocol, so it gets the head again without the offer.
    """
    lines = [b"%s %s HTTP/%s" % (parser.get_method(), target, parser.get_http_version().encode())]
    lines += [b"%s: %s" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join(lines) + b"\r\n\r\n"
