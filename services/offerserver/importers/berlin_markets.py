"""The weekly and flea markets of Berlin, from berlin.de.

It sends GeoJSON whose features have the row in `properties.data`. Stored copies of its JSON have rows in `index`, with
coordinates as texts: older ones with a decimal comma and other names. All forms are read. The names in `extdata` are
those of chat replies.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from services.offerserver.core.drafts import AreaBox, Draft, Parsed, merged
from services.offerserver.core.importer import FeedDocument, FeedRequest, ImportArea, Importer, OfferSource
from services.offerserver.core.values import Rejection, at_path, collect, hashtag, number, plain_text, shown
from services.offerserver.importers.geojson import GeoJsonRows
from services.offerserver.importers.rows import FeedRow, FeedRows, JsonRows, required, text_of

_PAGE: Final = "https://www.berlin.de/sen/web/service/maerkte-feste/wochen-troedelmaerkte/"
_URL: Final = f"{_PAGE}index.php/index/all.geojson?q="
_MOST_WORDS: Final = 8
_LEAST_WORD_CHARS: Final = 4
"""Shorter words of a place are such as "am", "Str." and house numbers."""
_EXTDATA: Final = {"contact": "betreiber", "misc": "bemerkungen"}
_ADDRESS: Final = {"route": "strasse", "postal_code": "plz"}


def _requests(area: ImportArea) -> Sequence[FeedRequest]:
    del area
    return [FeedRequest(url=_URL, kind="json")]


def _parse(documents: Sequence[FeedDocument], now_ms: int) -> Parsed:
    del now_ms
    return merged(_parsed(document) for document in documents)


def _parsed(document: FeedDocument) -> Parsed:
    rows = _FeatureRows(document) if _is_geojson(document) else JsonRows(document, "index.item")
    drafts, rejections = collect(rows, _draft, lambda row: text_of(row, "id"))
    return Parsed(drafts=tuple(drafts), rejections=(*rejections, *rows.rejections), partial=tuple(rows.partial))


def _is_geojson(document: FeedDocument) -> bool:
    return '"FeatureCollection"' in document.text


class _FeatureRows(FeedRows):
    """Yields the rows of features, with the coordinates of their geometry."""

    def __init__(self, document: FeedDocument) -> None:
        super().__init__()
        self._features = GeoJsonRows(document)
        self.partial = self._features.partial
        self.rejections = self._features.rejections

    def __iter__(self) -> Iterator[FeedRow]:
        for feature in self._features:
            data = at_path(feature, "properties.data")
            row = data if isinstance(data, dict) else feature["properties"]
            if not isinstance(row, dict):
                self.reject(Rejection(shown(feature["id"]), "properties", shown(row), "is not an object"))
                continue
            point = {name: feature[name] for name in ("latitude", "longitude")}
            yield {"id": feature["id"], **row, **point}


def _draft(row: FeedRow) -> Draft:
    number_of_market = required(plain_text(row.get("id"), "id"), "id")
    text = required(plain_text(row.get("location") or row.get("bezeichnung"), "bezeichnung"), "bezeichnung")
    district = plain_text(row.get("bezirk"), "bezirk")
    opening = " ".join(filter(None, (plain_text(row.get(name), name) for name in ("tage", "zeiten"))))
    extdata = {name: plain_text(row.get(field), field) for name, field in _EXTDATA.items()}
    address = {name: plain_text(row.get(field), field) for name, field in _ADDRESS.items()}
    known_address = {name: value for name, value in address.items() if value}
    return Draft(
        id=f"markt:{number_of_market}",
        text=text,
        latitude=_coordinate(row, "latitude", "_wgs84_lat"),
        longitude=_coordinate(row, "longitude", "_wgs84_lon"),
        keywords=_words(f"{text} {district}"),
        place={"en": known_address} if known_address else {},
        extdata={
            **{name: value for name, value in extdata.items() if value},
            "location": text,
            **({"open": opening} if opening else {}),
            "link": _link(plain_text(row.get("www"), "www")),
        },
    )


def _coordinate(row: FeedRow, *names: str) -> float:
    """Return the coordinate of the first of these fields that has one. Raises InvalidRow."""
    name = next((name for name in names if row.get(name) not in (None, "")), names[0])
    return number(row.get(name), name, decimal_comma=True)


def _link(text: str) -> str:
    """Return the link of a market. Most are without a scheme. Without one there is the list of all markets."""
    if not text or " " in text or "." not in text:
        return _PAGE
    return text if text.startswith(("http://", "https://")) else f"https://{text}"


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
        attribution="Senatsverwaltung für Wirtschaft, Energie und Betriebe, Berlin (daten.berlin.de)",
        box=AreaBox(52.3, 13.0, 52.7, 13.8),
    ),
    requests=_requests,
    parse=_parse,
)
