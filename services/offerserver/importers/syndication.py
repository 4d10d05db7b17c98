"""RSS and Atom, with the points of GeoRSS.

feedparser expands entities without a limit. So defusedxml reads the document first, and refuses each entity that it
declares. Its parser stops at the first fault, so feedparser gets no declarations at all: it looks for them only before
the first element, and there its patterns take a time that grows with the square of the length.
"""

import io
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

import defusedxml.ElementTree
import feedparser
import feedparser.mixin
from defusedxml.common import DefusedXmlException

from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import shown
from services.offerserver.importers.rows import FeedRow, FeedRows

_HEADERS: Final = {"content-type": "application/xml; charset=utf-8"}
_FIRST_ELEMENT: Final = re.compile(rb"<\w")
"""Where the declarations end for feedparser (`sanitizer.replace_doctype`)."""
_REFERENCE: Final = re.compile(
    r"&#[xX]0*([dD][89abAB][0-9a-fA-F]{2});&#[xX]0*([dD][c-fC-F][0-9a-fA-F]{2});|&#(?:[xX]([0-9a-fA-F]+)|([0-9]+));?"
)
"""Two halves of a character, or a reference by number. feedparser raises for a number that is no character."""
_MOST_DIGITS: Final = 12
_CHARACTER: Final = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters of XML 1.0."""
_MOST_ATTRIBUTES: Final = 100
"""The most of one element. feedparser takes a time that grows with their square."""
_TOO_MANY_ATTRIBUTES: Final = re.compile(
    r"""<[a-z][^\s<>"'=]*+\s*+"""
    rf"""(?:[^\s<>"'=]++\s*+(?:=\s*+(?:"[^"]*+"|'[^']*+'|[^\s<>"']*+))?+\s*+){{{_MOST_ATTRIBUTES + 1}}}""",
    re.IGNORECASE,
)
"""A pattern, because feedparser also reads what comes after the end of the well formed part. It is linear: outside of
quotation marks, a match ends before the next element begins."""

# It looks for a mail address in each author, in a time that grows with the square of the length. No row has an author.
feedparser.mixin._FeedParserMixin._sync_author_detail = lambda *_, **__: None  # noqa: SLF001


class SyndicationRows(FeedRows):
    """Yields entries: `id`, `title`, `summary`, `link`, `published` (ISO 8601), `tags`, `images`, and a point."""

    def __init__(self, document: FeedDocument) -> None:
        super().__init__()
        self._text = document.text

    def __iter__(self) -> Iterator[FeedRow]:
        content = _REFERENCE.sub(_readable_reference, self._text).encode("utf-8", "replace")
        if _TOO_MANY_ATTRIBUTES.search(self._text) is not None:
            raise UnreadableFeed(f"an element of the XML has more than {_MOST_ATTRIBUTES} attributes")
        try:
            defusedxml.ElementTree.fromstring(content)
        except DefusedXmlException as error:
            raise UnreadableFeed(f"the XML declares entities: {shown(str(error))}") from None
        except (defusedxml.ElementTree.ParseError, ValueError) as error:
            self.partial.append(f"the XML is not well formed: {shown(str(error))}")
        first = _FIRST_ELEMENT.search(content)
        # Given bytes or a text, feedparser first opens the file or the URL of that name.
        source = io.BytesIO(content[first.start() :] if first else b"")
        # `plain_text` removes the markup. feedparser's own way takes a quadratic time.
        feed = feedparser.parse(source, response_headers=_HEADERS, sanitize_html=False, resolve_relative_uris=False)
        if not feed.get("version"):
            raise UnreadableFeed("the XML is neither RSS nor Atom")
        for entry in feed.entries:
            yield _row(entry)


def _readable_reference(found: re.Match[str]) -> str:
    """Return a reference to a character of XML, U+FFFD for any other number."""
    high, low, hexadecimal, decimal = found.groups()
    if high:
        code = ord(bytes.fromhex(high + low).decode("utf-16-be"))
    else:
        digits, base = (hexadecimal, 16) if hexadecimal else (decimal, 10)
        digits = digits.lstrip("0") or "0"
        code = int(digits, base) if len(digits) <= _MOST_DIGITS else 0
    is_character = code <= sys.maxunicode and _CHARACTER.fullmatch(chr(code)) is not None
    return f"&#{code if is_character else 0xFFFD};"


def _row(entry: Any) -> FeedRow:
    latitude, longitude = _point(entry)
    published = entry.get("published_parsed") or entry.get("updated_parsed")
    images = [each.get("href") for each in entry.get("enclosures", ()) if each.get("type", "").startswith("image/")]
    images += [each.get("url") for each in (*entry.get("media_content", ()), *entry.get("media_thumbnail", ()))]
    return {
        "id": entry.get("id") or entry.get("link"),
        "title": entry.get("title"),
        "summary": entry.get("summary"),
        "link": entry.get("link"),
        "published": "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*published[:6]) if published else None,
        "tags": [tag.get("term") for tag in entry.get("tags", ()) if tag.get("term")],
        "images": [url for url in images if url],
        "latitude": latitude,
        "longitude": longitude,
    }


def _point(entry: Any) -> tuple[Any, Any]:
    """Return latitude and longitude of an entry: those of GeoRSS, or of the W3C vocabulary."""
    where = entry.get("where")
    coordinates = where.get("coordinates") if isinstance(where, dict) and where.get("type") == "Point" else None
    if coordinates:
        return coordinates[1], coordinates[0]  # feedparser makes GeoJSON of it
    return entry.get("geo_lat"), entry.get("geo_long")
