"""Trees that are natural monuments, and boulders, around the area of the settings, from OpenStreetMap.

The old system read pages of one district of Berlin, which are gone.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

from services.offerserver.core.drafts import Draft, Parsed, merged
from services.offerserver.core.importer import FeedDocument, FeedRequest, ImportArea, Importer, OfferSource
from services.offerserver.core.values import at_path, collect, number, plain_text
from services.offerserver.importers.overpass import OverpassRows
from services.offerserver.importers.rows import FeedRow, text_of

_URL: Final = "https://overpass-api.de/api/interpreter"
_QUERY: Final = """
[out:json][timeout:60];
(
  node[natural=tree][denotation=natural_monument](around:{around});
  node[natural=stone](around:{around});
);
out center;
"""


def _requests(area: ImportArea) -> Sequence[FeedRequest]:
    around = f"{1000 * area.range_km},{area.latitude:.4f},{area.longitude:.4f}"
    body = urlencode({"data": _QUERY.format(around=around)}).encode()
    return [FeedRequest(url=_URL, kind="json", body=body)]


def _parse(documents: Sequence[FeedDocument], now_ms: int) -> Parsed:
    del now_ms
    return merged(_parsed(document) for document in documents)


def _parsed(document: FeedDocument) -> Parsed:
    rows = OverpassRows(document)
    drafts, rejections = collect(rows, _draft, lambda row: text_of(row, "id"))
    return Parsed(drafts=tuple(drafts), rejections=(*rejections, *rows.rejections), partial=tuple(rows.partial))


def _draft(row: FeedRow) -> Draft:
    is_tree = at_path(row, "tags.natural") == "tree"
    species = plain_text(at_path(row, "tags.species:de") or at_path(row, "tags.species"), "species")
    name = plain_text(at_path(row, "tags.name"), "name")
    image = plain_text(at_path(row, "tags.image"), "image")
    return Draft(
        id=f"{'baeume' if is_tree else 'findlinge'}:{row['id']}",
        text=name or species or ("Naturdenkmal: Baum" if is_tree else "Findling"),
        latitude=number(row["latitude"], "latitude"),
        longitude=number(row["longitude"], "longitude"),
        keywords=("#baeume" if is_tree else "#findlinge",),
        extdata={"link": row["link"], **({"species": species} if species else {})},
        image_urls=(image,) if image else (),
    )


NATURE_SPOTS: Final = Importer(
    source=OfferSource(
        name="nature_spots",
        purpose="Imports trees that are natural monuments, and boulders, around the area of the settings.",
        owner="BerlinDeNatur",
        keywords=("#all", "#natur"),
        schedule="30 1 * * *",
        licence="ODbL 1.0",
        attribution="© OpenStreetMap contributors",
    ),
    requests=_requests,
    parse=_parse,
)
