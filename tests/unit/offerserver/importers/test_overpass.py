from services.offerserver.core.drafts import Parsed
from tests.unit.offerserver.reading import as_json, configured, parse, rejected

CAFE = {"type": "node", "id": 1, "lat": 52.5, "lon": 13.4, "tags": {"name": "Corner", "cuisine": "coffee_shop;cake"}}
WAY = {"type": "way", "id": 2, "center": {"lat": 52.51, "lon": 13.41}, "tags": {"name": "Court"}}
RELATION = {"type": "relation", "id": 3, "tags": {"name": "No center"}}


def read(*elements: object, **members: str) -> Parsed:
    return parse(configured("cafes.yaml"), as_json({"elements": elements, **members}))


def test_elements_are_read_with_their_center() -> None:
    found = read(CAFE, WAY)
    assert [(draft.id, draft.latitude, draft.longitude) for draft in found.drafts] == [
        ("node/1", 52.5, 13.4),
        ("way/2", 52.51, 13.41),
    ]
    assert found.drafts[0].keywords == ("#coffee_shop", "#cake")
    assert found.drafts[0].extdata == {"link": "https://www.openstreetmap.org/node/1"}


def test_element_without_a_point_is_rejected() -> None:
    assert rejected(read(RELATION)) == [("relation/3", "latitude", "is missing")]


def test_remark_makes_the_run_partial() -> None:
    found = read(CAFE, remark="runtime error: Query timed out")
    assert len(found.drafts) == 1
    assert found.partial == ("Overpass remarks: runtime error: Query timed out",)
