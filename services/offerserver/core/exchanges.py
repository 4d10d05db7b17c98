"""What is known of the requests of a run: for the page of the run, and for conditional requests of the next one."""

import datetime as dt
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin, urlsplit

import msgspec

MOST_HEAD_BYTES: Final = 2_048
"""The most bytes of a body that a run keeps."""
_SHOWN_HEADERS: Final = (
    *("content-type", "content-encoding", "content-length", "etag", "last-modified", "cache-control", "age"),
    *("location", "retry-after", "server", "date", "x-sparql-maxrows", "x-sql-state", "x-sql-message"),
)
_MOST_HEADER_CHARS: Final = 300
MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LEAST_PAUSE_S: Final = 30.0
"""After a 429 without a Retry-After, such as those of Overpass, where a slot is not free at once."""


class Validators(msgspec.Struct, frozen=True):
    """What a source sent to recognise its document (RFC 9110, section 13)."""

    etag: str = ""
    last_modified: str = ""

    @property
    def request_headers(self) -> dict[str, str]:
        """The headers of a conditional request."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}


class HttpExchange(msgspec.Struct, frozen=True, kw_only=True):
    """A request of a run with its last response."""

    url: str
    """The one that was asked for first."""
    status: int = 0
    """0: there was no response."""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """A selection, with the names in lower case."""
    redirects: tuple[str, ...] = ()
    """The addresses that it was redirected to."""
    received_bytes: int = 0
    body_bytes: int = 0
    """After decompression."""
    retries: int = 0
    seconds: float = 0.0
    head: str = ""
    """The begin of the body, if it could not be used."""
    error: str = ""

    @property
    def validators(self) -> Validators:
        """Those for the next request."""
        return Validators(self.headers.get("etag", ""), self.headers.get("last-modified", ""))


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a run keeps. They have no cookies."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return {name: _utf8(lowered[name][:_MOST_HEADER_CHARS]) for name in _SHOWN_HEADERS if name in lowered}


def retry_after_s(text: str, now: dt.datetime) -> float:
    """Return the seconds of a Retry-After, which is a number or a date; 0 if it is neither."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
        return max(0.0, (moment - now).total_seconds())
    except (ValueError, OverflowError):  # a year or a zone beyond all limits
        return 0.0


def wait_after_s(status: int, retry_after: str, now: dt.datetime) -> float:
    """Return the seconds that a status asks to wait for: those of its Retry-After. A 429 without one asks for 30."""
    return retry_after_s(retry_after, now) or (_LEAST_PAUSE_S if status == HTTPStatus.TOO_MANY_REQUESTS else 0.0)


def redirect_of(url: str, status: int, location: str) -> str | None:
    """Return the address that a response redirects to, None if it is no redirect.

    Raises ValueError for one that leads from https to another scheme.
    """
    if status not in _REDIRECTS or not location:
        return None
    target = urljoin(url, _utf8(location))
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise ValueError("it leads from https to another scheme")
    return target


def _utf8(text: str) -> str:
    """Return a header with a question mark for each byte that is not UTF-8: such a text could not be stored."""
    return text.encode("utf-8", "replace").decode()


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
