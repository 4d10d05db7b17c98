"""Read an access log in Combined Log Format as tracking requests."""

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from deploy.errors import OperatorError


class TrackingRequest(NamedTuple):
    """One GET of a browser or an app."""

    target: str
    """Path and query as sent."""
    address: str
    """The visitor's address, sent in X-Forwarded-For."""
    user_agent: str = ""
    referrer: str = ""


_QUOTED = r'"((?:[^"\\]|\\.)*)(?:"|$)'  # servers escape quotes; a truncated line has no closing quote
_COMBINED = re.compile(rf"^(\S+) \S+ \S+ \[[^\]]*\] {_QUOTED} \S+ \S+(?: {_QUOTED})?(?: {_QUOTED})?")
_REQUEST_LINE = re.compile(r"^[A-Z]+ (\S.*?)(?: HTTP/[\d.]+)?$")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")


class LogFormatError(OperatorError):
    """A file is not an access log in Combined Log Format, plain or gzip."""


def read_log(path: Path) -> Iterator[TrackingRequest]:
    """Yield one request for each line of a Combined Log Format file, plain or gzip.

    Raises LogFormatError, naming the invalid line, or OSError.
    """
    with path.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    number = 0
    with gzip.open(path, "rb") if gzipped else path.open("rb") as lines:
        try:
            for number, line in enumerate(lines, start=1):  # noqa: B007 - the error below names the line
                if line.strip():
                    yield parse_line(line.decode("utf-8", "surrogateescape").rstrip("\r\n"))
        except LogFormatError as error:
            raise LogFormatError(f"{path.name}, line {number}: {error}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LogFormatError(f"{path.name}, after line {number}: the gzip file is truncated or damaged") from error


def count_requests(path: Path) -> int:
    """Read a whole log and count its requests. So an invalid log is rejected before anything is sent.

    Raises LogFormatError, also for a log without requests, or OSError.
    """
    total = sum(1 for _ in read_log(path))
    if total == 0:
        raise LogFormatError(f"{path.name} contains no request")
    return total


def parse_line(line: str) -> TrackingRequest:
    """Return the request of one line of Combined Log Format, as a GET."""
    fields = _COMBINED.match(line)
    if fields is None:
        raise LogFormatError(f"not in Combined Log Format: {line[:80]!r}")
    address, request, referrer, user_agent = (_unescape(text or "") for text in fields.groups())
    request_line = _REQUEST_LINE.match(request)
    return TrackingRequest(
        target=_wire_target(request_line[1] if request_line else "/"),
        address=address,
        user_agent=_header_text(user_agent),
        referrer=_header_text(referrer),
    )


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_escaped_byte, text)


def _escaped_byte(match: re.Match[str]) -> str:
    code = match[1]
    # \xhh is a byte, possibly a part of a character. Encoding the text again completes the character.
    return bytes.fromhex(code[1:]).decode("utf-8", "surrogateescape") if len(code) > 1 else code


def _header_text(text: str) -> str:
    """Return a logged field as a header value: `-` is empty, and control characters are removed."""
    if text == "-":
        return ""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(character for character in readable if character.isprintable())


def _wire_target(target: str) -> str:
    """Return a logged target as a request target: origin form, with only the bytes that HTTP allows."""
    if not target.startswith("/"):
        # Remove scheme and host of an absolute target. Anything else is a path.
        target = "/" + re.sub(r"^[A-Za-z][\w+.-]*://[^/?]*/?", "", target)
    return quote(target.encode("utf-8", "surrogateescape"), safe="".join(map(chr, range(0x21, 0x7F))))
