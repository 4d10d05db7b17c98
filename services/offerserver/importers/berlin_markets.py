"""The weekly and flea markets of Berlin, from berlin.de.

The JSON has the rows in `index`. Coordinates have a decimal comma. The names in `extdata` are those of chat replies.
"""

from collections.abc import Sequence
from typing import Final

from services.offerserver.core.drafts import AreaBox, Draft, Parsed, merged
from services.offerserver.core.importer import FeedDocument, FeedRequest, ImportArea, Importer, OfferSource
from services.offerserver.core.values import collect, hashtag, number, plain_text
from services.offerserver.importers.rows import FeedRow, JsonRows, required, text_of

_PAGE: Final = "https://www.berlin.de/sen/web/service/maerkte-feste/wochen-troedelmaerkte/"
_URL: Final = f"{_PAGE}index.php/index/all.json?q="
_MOST_WORDS: Final = 8
_LEAST_WORD_CHARS: Final = 4
"""Shorter words of a place are such as "am", "Str." and house numbers."""
_EXTDATA: Final = {"contact": "betreiber", "misc": "bemerkungen", "location": "location"}


def _requests(area: ImportArea) -> Sequence[FeedRequest]:
    del area
    return [FeedRequest(url=_URL, kind="json")]


def _parse(documents: Sequence[FeedDocument], now_ms: int) -> Parsed:
    del now_ms
    return merged(_parsed(document) for document in documents)


def _parsed(document: FeedDocument) -> Parsed:
    rows = JsonRows(document, "index.item")
    drafts, rejections = collect(rows, _draft, lambda row: text_of(row, "id"))
    return Parsed(drafts=tuple(drafts), rejections=(*rejections, *rows.rejections), partial=tuple(rows.partial))


def _draft(row: FeedRow) -> Draft:
    number_of_market = required(plain_text(row.get("id"), "id"), "id")
    text = required(plain_text(row.get("location") or row.get("bezeichnung"), "location"), "location")
    district = plain_text(row.get("bezirk"), "bezirk")
    opening = " ".join(filter(None, (plain_text(row.get(name), name) for name in ("tage", "zeiten"))))
    extdata = {name: plain_text(row.get(field), field) for name, field in _EXTDATA.items()}
    link = plain_text(row.get("www"), "www")
    return Draft(
        id=f"markt:{number_of_market}",
        text=text,
        latitude=number(row.get("latitude"), "latitude", decimal_comma=True),
        longitude=number(row.get("longitude"), "longitude", decimal_comma=True),
        keywords=_words(f"{text} {district}"),
        extdata={
            **{name: value for name, value in extdata.items() if value},
            **({"open": opening} if opening else {}),
            "link": link if link.startswith(("http://", "https://")) else _PAGE,
        },
    )


def _words(text: str) -> tuple[str, ...]:
    """Return the words of a place as hashtags."""
    words = (hashtag(word) for word in text.replace("-", " ").split())
    return tuple(dict.fromkeys(word for word in words if len(word) > _LEAST_WORD_CHARS))[:_MOST_WORDS]


BERLIN_MARKETS: Final = Importer(
    source=OfferSource(
        name="berlin_markets",
        purpose="Imports the weekly and flea markets of Berlin.",
        owner="BerlinDeDaten",
        keywords=("#all", "#markt"),
        schedule="15 4 * * *",
        licence="CC BY 3.0 DE",
        attribution="Land Berlin, berlin.de",
        box=AreaBox(52.3, 13.0, 52.7, 13.8),
    ),
    requests=_requests,
    parse=_parse,
)
