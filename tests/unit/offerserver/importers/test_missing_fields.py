from typing import Any

import pytest

from services.offerserver.importers.mapping import FieldMapping
from services.offerserver.importers.missing_fields import MissingFields

ROW = {"id": 1, "name": "x", "latitude": 1.0, "longitude": 2.0, "properties": {"kind": "park"}, "empty": ""}
HAVE = "(rows have: id, name, latitude, longitude, properties.kind, empty)"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, []),
        ({"valid_until": "ends"}, [("fields.valid_until", f"no row has 'ends' {HAVE}")]),
        ({"keywords": ["properties.kinds"]}, [("fields.keywords", f"no row has 'properties.kinds' {HAVE}")]),
        (
            {"keywords": ["properties.kind"], "extdata": {"link": "empty"}},
            [("fields.extdata.link", "no row has 'empty'")],
        ),
        ({"latitude": "lat"}, [("fields.latitude", "no row has 'lat'")]),
        ({"id": ["id", "street"]}, [("fields.id.1", "no row has 'street'")]),
    ],
)
def test_path_that_no_row_has_is_a_remark(fields: dict[str, Any], found: list[tuple[str, str]]) -> None:
    missing = MissingFields(FieldMapping.model_validate({"text": "name"} | fields))
    assert list(missing.seen([ROW, ROW])) == [ROW, ROW]
    remarks = missing.remarks()
    assert [each.field for each in remarks] == [field for field, _ in found]
    assert all(each.reason.startswith(reason) for each, (_, reason) in zip(remarks, found, strict=True))


def test_place_stands_for_coordinates_and_no_rows_have_no_remarks() -> None:
    fields = FieldMapping.model_validate({"text": "name", "location_name": "properties.kind"})
    missing = MissingFields(fields)
    assert missing.remarks() == ()
    list(missing.seen([{"id": 1, "name": "x", "properties": {"kind": "hall"}}]))
    assert missing.remarks() == ()
