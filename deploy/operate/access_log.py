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
    """One GET that a browser or an app would send."""

    target: str
    """Path and query, as they go on the wire."""
    address: str
    """The visitor's address, sent as X-Forwarded-For."""
    user_agent: str = ""
    referrer: str = ""


_QUOTED = r'"((?:[^"\\]|\\.)*)(?:"|$)'  # servers escape quotes; a line cut short lacks the closing one
_COMBINED = re.compile(rf"^(\S+) \S+ \S+ \[[^\]]*\] {_QUOTED} \S+ \S+(?: {_QUOTED})?(?: {_QUOTED})?")
_REQUEST_LINE = re.compile(r"^[A-Z]+ (\S.*?)(?: HTTP/[\d.]+)?$")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")


class LogFormatError(OperatorError):
    """A file is no access log in Combined Log Format, plain or gzip."""


def read_log(path: Path) -> Iterator[TrackingRequest]:
    """Read a Combined Log Format file, plain or gzip, a request a line.

    Raises LogFormatError naming the line that can't be read; OSError when the file can't.
    """
    with path.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
    number = 0
    with gzip.open(path, "rb") if gzipped else path.open("rb") as lines:
        try:
            for number, line in enumerate(lines, start=1):  # noqa: B007 - where it was when something is wrong
                if line.strip():
                    yield parse_line(line.decode("utf-8", "surrogateescape").rstrip("\r\n"))
        except LogFormatError as error:
            raise LogFormatError(f"{path.name}, line {number}: {error}") from None
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LogFormatError(f"{path.name}, after line {number}: the gzip file is cut short or damaged") from error


def count_requests(path: Path) -> int:
    """Read a whole log and count its requests; so a malformed one is refused before anything is sent.

    Raises LogFormatError, also for one without any, and OSError.
    """
    total = sum(1 for _ in read_log(path))
    if total == 0:
        raise LogFormatError(f"{path.name} holds no request")
    return total


def parse_line(line: str) -> TrackingRequest:
    """Turn one line of Combined Log Format into the request it stands for, sent again as a GET."""
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
    # \xhh is a byte, not a character: it may be a part of one, and becomes whole when the text is encoded again.
    return bytes.fromhex(code[1:]).decode("utf-8", "surrogateescape") if len(code) > 1 else code


def _header_text(text: str) -> str:
    """Make a logged field sendable as a header: `-` stands for nothing, and a header holds no control characters."""
    if text == "-":
        return ""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(character for character in readable if character.isprintable())


def _wire_target(target: str) -> str:
    """Make a logged target sendable: origin form, and only bytes that may stand in a request line."""
    if not target.startswith("/"):
        # What comes before the path of an absolute target named a host; anything else is taken for a path.
        target = "/" + re.sub(r"^[A-Za-z][\w+.-]*://[^/?]*/?", "", target)
    return quote(target.encode("utf-8", "surrogateescape"), safe="".join(map(chr, range(0x21, 0x7F))))
