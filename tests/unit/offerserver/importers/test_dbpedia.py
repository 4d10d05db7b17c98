from urllib.parse import parse_qs, urlsplit

import pytest

from services.offerserver.importers.dbpedia import DBPEDIA, PAGE_ROWS
from tests.unit.offerserver.reading import AREA, as_json, document, feed, parse, rejected

FEED = feed("landmarks.json")
FULL_PAGE = as_json({"results": {"bindings": [{}] * PAGE_ROWS}})


def query(url: str) -> str:
    return parse_qs(urlsplit(url).query)["query"][0]


def test_landmark_has_the_fields_of_chat_replies() -> None:
    found = parse(DBPEDIA, document(FEED))
    (mill,) = found.drafts
    assert (mill.id, mill.text, mill.latitude, mill.longitude) == ("4711", "Old Mill", 52.51, 13.4)
    assert mill.extdata == {
        "link": "https://en.wikipedia.org/wiki/Old_Mill",
        "resource": "http://dbpedia.org/resource/Old_Mill",
        "homepage": "https://mill.example/",
    }
    assert rejected(found) == [("http://dbpedia.org/resource/New_Tower", "longitude", "is not a finite number")]
    assert found.partial == ()


@pytest.mark.parametrize("header", ["x-sparql-maxrows", "x-sql-state"])
def test_partial_results_make_the_run_partial(header: str) -> None:
    found = parse(DBPEDIA, document(FEED, headers={header: "S1TAT"}))
    assert len(found.drafts) == 1
    assert found.partial == (f"the endpoint reports partial results: {header}",)


def test_area_of_the_settings_is_asked_for_in_order() -> None:
    (request,) = DBPEDIA.requests(AREA)
    asked = query(request.url)
    assert "?lat > 52.3201 && ?lat < 52.6799 && ?long > 13.1046 && ?long < 13.6954" in asked
    assert f"ORDER BY ?item\nLIMIT {PAGE_ROWS} OFFSET 0" in asked


def test_pages_are_asked_for_until_one_is_not_full() -> None:
    (request,) = DBPEDIA.requests(AREA)
    second = DBPEDIA.next_page(request, FULL_PAGE)
    assert second is not None
    assert query(second.url).rstrip() == query(request.url).rstrip().replace("OFFSET 0", f"OFFSET {PAGE_ROWS}")
    third = DBPEDIA.next_page(second, FULL_PAGE)
    assert third is not None
    assert query(third.url).rstrip().endswith(f"OFFSET {2 * PAGE_ROWS}")
    assert DBPEDIA.next_page(third, document(FEED)) is None


def test_no_page_is_asked_for_after_a_partial_one() -> None:
    (request,) = DBPEDIA.requests(AREA)
    partial = document(FULL_PAGE.text, headers={"x-sql-state": "S1TAT"})
    assert DBPEDIA.next_page(request, partial) is None
