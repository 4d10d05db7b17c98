import math
from typing import Any

import pytest

from services.offerserver.core.drafts import AreaBox
from services.offerserver.core.grades import Thresholds
from services.offerserver.importers.configured import InvalidSource, read_source
from tests.unit.offerserver.reading import AREA, configured, feed


def test_file_becomes_an_importer() -> None:
    importer = configured("libraries.yaml")
    source = importer.source
    assert (source.name, source.owner, source.keywords) == ("libraries", "CityLibraries", ("#all", "#library"))
    assert source.box == AreaBox(52.3, 13.0, 52.7, 13.8)
    assert source.thresholds == Thresholds(floor=2)
    (request,) = importer.requests(AREA)
    assert (request.url, request.kind, request.body) == ("https://data.example/libraries.csv", "csv", None)


def test_query_of_overpass_is_posted() -> None:
    (request,) = configured("cafes.yaml").requests(AREA)
    assert request.body is not None
    assert request.body.startswith(b"data=%5Bout%3Ajson%5D")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"form": "spreadsheet"}, "form: must be one of 'geojson'"),
        ({"urls": ["ftp://data.example/"]}, "urls.0: "),
        ({"urls": {"a": "https://data.example/"}}, "urls: "),
        ({"colour": "red"}, "colour: unknown key"),
        ({"name": "My libraries"}, "is no name of an importer"),
        ({"licence": ""}, "licence: is empty"),
        ({"box": {"south": 53, "west": 13, "north": 52, "east": 14}}, "south must be less than north"),
        ({"query": "[out:json];"}, "query: is required for overpass, and for no other form"),
        ({"zone": "Berlin"}, "must be a time zone such as Europe/Berlin"),
        ({"thresholds": {"most_rejected": 2}}, "thresholds: Expected `float` <= 1.0"),
        ({"thresholds": {"most": 1}}, "thresholds: Object contains unknown field `most`"),
        ({"radius_m": -1}, "radius_m: "),
        ({"keywords": []}, "1 to 32 are required"),
        ({"keywords": ["#" + "a" * 99]}, "keywords: has 100 characters; at most 64 are allowed"),
        ({"keywords": ["#all", ""]}, "keywords: is empty"),
        ({"name": "remove_stale_offers"}, "name: remove_stale_offers is the name of another job"),
        ({"owner": "O" * 600}, "owner: has 600 characters; at most 256 are allowed"),
        ({"owner": "a\nb"}, "owner: has a line break"),
        ({"licence": "l" * 501}, "licence: has 501 characters; at most 500 are allowed"),
        ({"urls": []}, "urls: "),
        ({"urls": ["https://u:p@data.example/"]}, "urls.0: the URL has a user name or a backslash"),
        ({"urls": ["https://:443/"]}, "urls.0: the URL has no host"),
        ({"delimiter": '"'}, "delimiter: must be no quotation mark and no line break"),
        ({"delimiter": "\n"}, "delimiter: must be no quotation mark and no line break"),
        ({"places": {"Hall": [math.nan, 13.4]}}, "places.Hall.0: "),
        ({"places": {"Hall": [13.4, 520]}}, "places.Hall.1: "),
        ({"box": {"south": -math.inf, "west": 13, "north": 52, "east": 14}}, "box.south: "),
        ({"box": {"south": math.nan, "west": 13, "north": 52, "east": 14}}, "box.south: "),
    ],
)
def test_invalid_file_is_refused_with_the_name_of_the_value(changes: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidSource) as caught:
        configured("libraries.yaml", **changes)
    assert error in str(caught.value)


def test_all_errors_are_reported_together() -> None:
    with pytest.raises(InvalidSource) as caught:
        configured("libraries.yaml", form="x", radius_m=-1, urls=5)
    assert len(str(caught.value).splitlines()) == 3


def test_reserved_name_in_extdata_is_refused() -> None:
    text = feed("parks.yaml").replace("extdata: {link:", "extdata: {match_hash: properties.x, link:")
    with pytest.raises(InvalidSource, match=r"fields.extdata: .*match_hash: the framework sets this"):
        read_source(text)


@pytest.mark.parametrize("text", ["", "- a\n- b", "a: [", "&a [*a]", "!!python/object/apply:os.system [ls]"])
def test_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidSource):
        read_source(text)
