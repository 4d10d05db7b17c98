import json

import pytest

from services.offerserver.importers.berlin_markets import BERLIN_MARKETS
from tests.unit.offerserver.reading import as_json, document, feed, first_url, parse, rejected

FEED = feed("berlin_markets.json")


def test_market_has_the_fields_of_chat_replies() -> None:
    first = parse(BERLIN_MARKETS, document(FEED)).drafts[0]
    assert (first.id, first.text) == ("markt:101", "Wochenmarkt am Alten Hafen")
    assert (first.latitude, first.longitude) == (52.51, 13.42)
    assert first.keywords == ("#wochenmarkt", "#alten", "#hafen", "#nordstadt")
    assert first.extdata == {
        "open": "Di, Fr 8-13 Uhr",
        "contact": "Marktverein, 030 000000",
        "misc": "Nur im Sommer",
        "location": "Wochenmarkt am Alten Hafen",
        "link": "https://markt.example/hafen",
    }


def test_market_with_gaps_has_no_empty_fields() -> None:
    second = parse(BERLIN_MARKETS, document(FEED)).drafts[1]
    assert second.text == "Trödelmarkt Lindenplatz"
    assert second.extdata == {"open": "So", "location": "Trödelmarkt Lindenplatz", "link": "https://markt.example"}


def test_geojson_of_today_has_other_names_and_an_address() -> None:
    found = parse(BERLIN_MARKETS, document(feed("berlin_markets.geojson")))
    (market,) = found.drafts
    assert (market.id, market.text) == ("markt:201", "Hafenmarkt")
    assert (market.latitude, market.longitude) == (52.51, 13.42)
    assert market.place == {"en": {"route": "Am Kai 1", "postal_code": "10001"}}
    assert market.extdata == {
        "contact": "Marktverein",
        "location": "Hafenmarkt",
        "open": "Di, Fr 8-13 Uhr",
        "link": "https://www.markt.example/hafen",
    }
    assert [each.field for each in found.rejections] == ["geometry"]


def test_rows_of_a_stored_copy_have_coordinates_as_texts_with_a_point() -> None:
    row = {"id": "7", "bezeichnung": "A market", "_wgs84_lat": "52.5", "_wgs84_lon": "13.4"}
    (market,) = parse(BERLIN_MARKETS, as_json({"index": [row]})).drafts
    assert (market.latitude, market.longitude) == (52.5, 13.4)


@pytest.mark.parametrize("www", ["", "none", "see the notice board."])
def test_market_without_a_usable_link_has_the_list_of_all_markets(www: str) -> None:
    row = {"id": "7", "bezeichnung": "A market", "latitude": "52,5", "longitude": "13,4", "www": www}
    (market,) = parse(BERLIN_MARKETS, as_json({"index": [row]})).drafts
    assert market.extdata["link"].startswith("https://www.berlin.de/")


def test_market_without_a_location_is_rejected_alone() -> None:
    found = parse(BERLIN_MARKETS, document(FEED))
    assert len(found.drafts) == 2
    assert rejected(found) == [("103", "latitude", "is missing")]


@pytest.mark.parametrize("properties", [["a"], "text", True])
def test_market_whose_properties_are_no_object_is_rejected_alone(properties: object) -> None:
    geometry = {"type": "Point", "coordinates": [13.4, 52.5]}
    features = [{"type": "Feature", "id": 7, "geometry": geometry, "properties": properties}]
    found = parse(BERLIN_MARKETS, as_json({"type": "FeatureCollection", "features": features}))
    assert rejected(found) == [("7", "properties", "is not an object")]


def test_half_a_feed_is_partial() -> None:
    found = parse(BERLIN_MARKETS, document(FEED[: FEED.index('"bezirk"', FEED.index("102"))]))
    assert [draft.id for draft in found.drafts] == ["markt:101"]
    assert len(found.partial) == 1


def test_order_of_rows_and_keys_has_no_effect() -> None:
    value = json.loads(FEED)
    value["index"] = [dict(reversed(row.items())) for row in reversed(value["index"])]
    found = parse(BERLIN_MARKETS, as_json(value))
    expected = parse(BERLIN_MARKETS, document(FEED))
    assert sorted(found.drafts, key=lambda draft: draft.id) == list(expected.drafts)


def test_exchanged_coordinates_are_rejected() -> None:
    row = {"id": "1", "location": "A market", "latitude": "13,4", "longitude": "52,5"}
    (found,) = parse(BERLIN_MARKETS, as_json({"index": [row]})).rejections
    assert "probably exchanged" in found.reason


def test_geojson_is_requested() -> None:
    assert first_url(BERLIN_MARKETS).endswith("/index.php/index/all.geojson?q=")
