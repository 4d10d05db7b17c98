import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.offerserver.core.values import InvalidRow
from services.offerserver.importers.geojson import LngLat, point_of
from tests.unit.offerserver.reading import as_json, configured, document, parse, rejected

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
U_SHAPE = [[0, 0], [5, 0], [5, 5], [4, 5], [4, 1], [1, 1], [1, 5], [0, 5], [0, 0]]


def feature(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": number,
        "properties": {"name": f"Park {number}", "kinds": "Play, Lawn", "url": "https://parks.example/", "size": 1.5},
        "geometry": {"type": "Point", "coordinates": [13.4, 52.5, 34.0]},
    } | changes


def collection(*features: object) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": features}


def test_feature_is_read_by_its_mapping() -> None:
    (draft,) = parse(configured("parks.yaml"), as_json(collection(feature(7)))).drafts
    assert (draft.id, draft.text, draft.latitude, draft.longitude) == ("7", "Park 7", 52.5, 13.4)
    assert draft.keywords == ("#play", "#lawn")
    assert draft.extdata == {"link": "https://parks.example/", "size": 1.5}


def test_point_of_a_square_is_its_middle() -> None:
    assert point_of({"type": "Polygon", "coordinates": [SQUARE]}) == LngLat(2, 2)


def test_point_of_a_bent_area_is_inside() -> None:
    longitude, latitude = point_of({"type": "Polygon", "coordinates": [U_SHAPE]})
    assert 0 < latitude < 5
    assert 0 < longitude < 1 or 4 < longitude < 5 or latitude < 1


def test_point_is_outside_of_inner_rings() -> None:
    inner = [[1, 1], [3, 1], [3, 3], [1, 3], [1, 1]]
    longitude, latitude = point_of({"type": "Polygon", "coordinates": [SQUARE, inner]})
    assert 0 < longitude < 4
    assert not (1 <= longitude <= 3 and 1 <= latitude <= 3)


def test_largest_polygon_and_line_are_chosen() -> None:
    far = [[10, 10], [11, 10], [11, 11], [10, 11], [10, 10]]
    assert point_of({"type": "MultiPolygon", "coordinates": [[far], [SQUARE]]}) == LngLat(2, 2)
    assert point_of({"type": "LineString", "coordinates": [[0, 0], [1, 1], [2, 2]]}) == LngLat(1, 1)
    assert point_of({"type": "MultiLineString", "coordinates": [[[9, 9]], [[0, 0], [1, 1], [2, 2]]]}) == LngLat(1, 1)
    assert point_of({"type": "Polygon", "coordinates": [[[0, 1], [1, 1], [2, 1], [0, 1]]]}) == LngLat(2, 1)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=12, unique=True),
)
def test_point_of_any_ring_is_within_its_box(points: list[tuple[int, int]]) -> None:
    longitude, latitude = point_of({"type": "Polygon", "coordinates": [[*points, points[0]]]})
    assert min(x for x, _ in points) <= longitude <= max(x for x, _ in points)
    assert min(y for _, y in points) <= latitude <= max(y for _, y in points)


@pytest.mark.parametrize(
    "geometry",
    [
        None,
        [],
        {"type": "Point"},
        {"type": "Point", "coordinates": []},
        {"type": "Point", "coordinates": ["13", "52"]},
        {"type": "Point", "coordinates": [None, 1]},
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "LineString", "coordinates": []},
        {"type": "GeometryCollection", "geometries": []},
        {"type": {"a": 1}, "coordinates": [1, 2]},
    ],
)
def test_malformed_geometry_is_rejected(geometry: object) -> None:
    with pytest.raises(InvalidRow, match="geometry"):
        point_of(geometry)


def test_malformed_feature_is_rejected_alone() -> None:
    features = [feature(1, geometry=None), feature(2), feature(3, properties=None), "no feature"]
    found = parse(configured("parks.yaml"), as_json(collection(*features)))
    assert [draft.id for draft in found.drafts] == ["2"]
    assert sorted(rejected(found)) == [
        ("", "row", "is not an object"),
        ("1", "geometry", "is no point, line or polygon"),
        ("3", "text", "is empty"),
    ]


def test_features_before_the_cut_are_read() -> None:
    text = json.dumps(collection(feature(1), feature(2)))
    found = parse(configured("parks.yaml"), document(text[:-60]))
    assert [draft.id for draft in found.drafts] == ["1"]
    assert len(found.partial) == 1
