"""Landmarks and buildings of DBpedia around the area of the settings, with English names.

The endpoint responds 200 (or 206) with the rows that it has found in time: `X-SPARQL-MaxRows` and the headers of its
"anytime" queries make the run partial (https://wiki.dbpedia.org/public-sparql-endpoint). A page has fewer rows than the
limit of the endpoint, and ORDER BY makes pages disjoint.
"""

import math
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from services.offerserver.core.drafts import Draft, Parsed, merged
from services.offerserver.core.importer import FeedDocument, FeedRequest, ImportArea, Importer, OfferSource
from services.offerserver.core.values import InvalidRow, collect, number, plain_text
from services.offerserver.importers.rows import FeedRow, JsonRows, json_values

_ENDPOINT: Final = "https://dbpedia.org/sparql"
PAGE_ROWS: Final = 2_000
"""The limit of the endpoint is 10,000 rows."""
_KM_OF_A_DEGREE: Final = 111.2
_PARTIAL_HEADERS: Final = ("x-sparql-maxrows", "x-sql-state", "x-sql-message", "x-sparql-anytime")
_ACCEPT: Final = {"accept": "application/sparql-results+json"}

_QUERY: Final = """
PREFIX dbo: <http://dbpedia.org/ontology/>
PREFIX geo: <http://www.w3.org/2003/01/geo/wgs84_pos#>
PREFIX foaf: <http://xmlns.com/foaf/0.1/>
SELECT ?item (SAMPLE(?page) AS ?id) (SAMPLE(?name) AS ?label) (MIN(?lat) AS ?latitude) (MIN(?long) AS ?longitude)
       (SAMPLE(?wiki) AS ?link) (SAMPLE(?home) AS ?homepage)
WHERE {{
  ?item a dbo:ArchitecturalStructure ; geo:lat ?lat ; geo:long ?long ; rdfs:label ?name ; dbo:wikiPageID ?page .
  OPTIONAL {{ ?item foaf:isPrimaryTopicOf ?wiki }}
  OPTIONAL {{ ?item foaf:homepage ?home }}
  FILTER (lang(?name) = "en" && ?lat > {south} && ?lat < {north} && ?long > {west} && ?long < {east})
}}
GROUP BY ?item
ORDER BY ?item
LIMIT {limit} OFFSET {offset}
"""


def _requests(area: ImportArea) -> Sequence[FeedRequest]:
    height = area.range_km / _KM_OF_A_DEGREE
    width = height / max(0.01, math.cos(math.radians(area.latitude)))
    edges = {
        "south": f"{area.latitude - height:.4f}",
        "north": f"{area.latitude + height:.4f}",
        "west": f"{area.longitude - width:.4f}",
        "east": f"{area.longitude + width:.4f}",
    }
    return [_request(_QUERY.format(**edges, limit=PAGE_ROWS, offset=0))]


def _request(query: str) -> FeedRequest:
    return FeedRequest(url=f"{_ENDPOINT}?{urlencode({'query': query})}", kind="json", headers=_ACCEPT)


def _next_page(request: FeedRequest, document: FeedDocument) -> FeedRequest | None:
    rows = sum(1 for _ in json_values(document.text, "results.bindings.item", []))
    if rows < PAGE_ROWS or document.is_cut or _partial(document):
        return None
    query = parse_qs(urlsplit(request.url).query)["query"][0]
    before, _, offset = query.rstrip().rpartition(" ")
    return _request(f"{before} {int(offset) + PAGE_ROWS}\n")


def _parse(documents: Sequence[FeedDocument], now_ms: int) -> Parsed:
    del now_ms
    return merged(_parsed(document) for document in documents)


def _parsed(document: FeedDocument) -> Parsed:
    rows = JsonRows(document, "results.bindings.item")
    drafts, rejections = collect(rows, _draft, lambda row: str(_value(row, "item") or ""))
    partial = (*rows.partial, *_partial(document))
    return Parsed(drafts=tuple(drafts), rejections=(*rejections, *rows.rejections), partial=partial)


def _draft(row: FeedRow) -> Draft:
    page = plain_text(_value(row, "id"), "id")
    link, homepage, resource = (plain_text(_value(row, name), name) for name in ("link", "homepage", "item"))
    return Draft(
        id=page,
        text=plain_text(_value(row, "label"), "label"),
        latitude=_coordinate(row, "latitude"),
        longitude=_coordinate(row, "longitude"),
        extdata={
            "link": link.replace("http://en.wikipedia", "https://en.wikipedia") or resource,
            "resource": resource,
            **({"homepage": homepage} if homepage else {}),
        },
    )


def _coordinate(row: FeedRow, name: str) -> float:
    """Return a coordinate. SPARQL results have numbers as texts, also in the form 5.25e1."""
    value = _value(row, name)
    try:
        return number(float(value), name)
    except (TypeError, ValueError) as error:
        raise InvalidRow(name, value, getattr(error, "reason", "is not a number")) from None


def _value(row: FeedRow, name: str) -> Any:
    found = row.get(name)
    return found.get("value") if isinstance(found, dict) else None


def _partial(document: FeedDocument) -> tuple[str, ...]:
    found = [name for name in _PARTIAL_HEADERS if name in document.headers]
    return (f"the endpoint reports partial results: {', '.join(found)}",) if found else ()


DBPEDIA: Final = Importer(
    source=OfferSource(
        name="dbpedia",
        purpose="Imports the landmarks and buildings of DBpedia around the area of the settings.",
        owner="DbpediaOrg",
        keywords=("#all", "#poi", "#landmark", "#building"),
        schedule="43 */6 * * *",
        licence="CC BY-SA 3.0 and GFDL",
        attribution="DBpedia, Wikipedia",
        radius_m=500,
    ),
    requests=_requests,
    parse=_parse,
    next_page=_next_page,
)
