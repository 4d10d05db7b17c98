"""Importer: the description of a source, and the two functions that know its form. The framework does the rest."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from services.offerserver.core.drafts import MOST_KEYWORD_CHARS, MOST_KEYWORDS, MOST_TEXT_CHARS, AreaBox, Parsed
from services.offerserver.core.grades import Thresholds

STALE_JOB: Final = "remove_stale_offers"
"""The name of the job that removes stale offers. No importer may have it: a job and an importer have one schedule."""
MOST_OWNER_CHARS: Final = 256
"""The limit of storage."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
DocumentKind = Literal["json", "xml", "calendar", "csv", "page"]
"""The form that a response must have. A page is HTML whose robots.txt is obeyed; the other ones are documented APIs
and files, where an HTML page is an error."""


class FeedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request of an importer."""

    url: str
    kind: DocumentKind
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: bytes | None = None
    """A form to POST. None: a GET."""


class FeedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A response, or the part of it that arrived."""

    url: str
    """After redirects."""
    text: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """The names are in lower case."""
    is_cut: bool = False
    """Whether the response ended before its announced end."""


class ImportArea(msgspec.Struct, frozen=True):
    """The area that world-wide sources are asked for, from the settings."""

    latitude: float
    longitude: float
    range_km: int


@dataclass(frozen=True, kw_only=True)
class OfferSource:
    """What an importer is, for operators and for the framework. Raises ValueError if it is invalid."""

    name: str
    """The name of its schedule, in pages, commands and metrics: lower-case letters, digits and underscores."""
    purpose: str
    """One sentence for operators."""
    owner: str
    """The owner of its offers in storage. Each importer has its own."""
    keywords: tuple[str, ...]
    """Those of all its offers."""
    schedule: str
    """A crontab in UTC."""
    licence: str
    """The licence of the data. Offers carry it in `extdata`."""
    attribution: str
    """The text that the licence requires. Offers carry it in `extdata`."""
    radius_m: int = 225
    """The radius of the old system."""
    box: AreaBox | None = None
    """Rows outside are rejected. None: the whole earth."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    stale_after_s: int | None = None
    """Without a trusted run for so long, all its offers are removed. None: the setting of the service."""

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(
                f"name: {self.name!r} is no name of an importer: use lower-case letters, digits and underscores"
            )
        if self.name == STALE_JOB:
            raise ValueError(f"name: {STALE_JOB} is the name of another job")
        for name in ("purpose", "owner", "schedule", "licence", "attribution"):
            most = MOST_OWNER_CHARS if name == "owner" else MOST_TEXT_CHARS
            _check_text(name, getattr(self, name), most)
        if not 1 <= len(self.keywords) <= MOST_KEYWORDS:
            raise ValueError(f"keywords: 1 to {MOST_KEYWORDS} are required, not {len(self.keywords)}")
        for keyword in self.keywords:
            _check_text("keywords", keyword, MOST_KEYWORD_CHARS)


def _check_text(name: str, value: str, most: int) -> None:
    if not value.strip():
        raise ValueError(f"{name}: is empty")
    if len(value) > most:
        raise ValueError(f"{name}: has {len(value)} characters; at most {most} are allowed")
    if not value.isprintable():
        raise ValueError(f"{name}: has a line break, or another character without a shape")


def no_further_page(request: FeedRequest, document: FeedDocument) -> FeedRequest | None:
    """Return None: the responses to `requests` are all documents."""
    del request, document
    return None


@dataclass(frozen=True, kw_only=True)
class Importer:
    """A source and the functions that know its form. Both are pure."""

    source: OfferSource
    requests: Callable[[ImportArea], Sequence[FeedRequest]]
    """Return the first requests of a run."""
    parse: Callable[[Sequence[FeedDocument], int], Parsed]
    """Return what is in the documents at a time in ms since 1970. Raises UnreadableFeed. It must not read a clock."""
    version: str = ""
    """Differs when a document must be parsed again although it has not changed: another YAML file, or another code."""
    parse_again_s: float = math.inf
    """A document that has not changed is parsed again after this time. Infinite: what `parse` returns does not depend
    on the time."""
    next_page: Callable[[FeedRequest, FeedDocument], FeedRequest | None] = no_further_page
    """Return the request for the page after a document, None after the last one. The framework bounds the number."""
