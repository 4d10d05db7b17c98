from typing import Any

import pytest

from services.storage.core.fields import InvalidInput, parse_fields
from services.storage.core.objects import ObjectFields
from services.storage.core.radii import DEFAULT_RADIUS_M
from services.storage.core.sphere import GeoPoint

DOCUMENT: dict[str, Any] = {
    "owner": "device",
    "keywords": ["Bread", ""],
    "location": {"type": "Point", "coordinates": ["13.4", 52.5]},
}


def parse(document: dict[str, Any], stored: ObjectFields | None = None) -> ObjectFields:
    return parse_fields(document, stored, may_set_trusted=False)


def test_new_object_has_the_defaults() -> None:
    fields = parse(DOCUMENT)
    assert fields == ObjectFields(owner="device", location=GeoPoint(13.4, 52.5), keywords=("Bread",))
    assert fields.radius_m == DEFAULT_RADIUS_M


def test_change_replaces_the_sent_fields_only() -> None:
    stored = parse(DOCUMENT | {"text": "Bakery", "radiusMeters": 900})
    changed = parse({"radiusMeters": "700.5", "created": "ignored", "_id": {"$ne": None}}, stored)
    assert (changed.radius_m, changed.text, changed.location) == (700.5, "Bakery", stored.location)


def test_null_sets_the_default() -> None:
    stored = parse(DOCUMENT | {"text": "Bakery", "validuntil": 5})
    assert parse({"text": None, "validuntil": None}, stored) == parse(DOCUMENT)


def test_trusted_needs_the_right_to_set_it() -> None:
    assert not parse_fields(DOCUMENT | {"trusted": True}, may_set_trusted=False).trusted
    assert parse_fields(DOCUMENT | {"trusted": "true"}, may_set_trusted=True).trusted


def test_all_errors_are_reported_together() -> None:
    with pytest.raises(InvalidInput) as error:
        parse({"text": 5, "radiusMeters": "wide"})
    assert [each.field for each in error.value.errors] == ["text", "radiusMeters", "owner", "keywords", "location"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", ""),
        ("owner", None),
        ("owner", {"$ne": None}),
        ("owner", "x" * 257),
        ("text", "\ud800"),
        ("keywords", "bread"),
        ("keywords", [{"$gt": ""}]),
        ("keywords", ["x"] * 65),
        ("keywords", [str(number) for number in range(33)]),
        ("location", [13.4, 52.5]),
        ("location", {"type": "Polygon", "coordinates": [13.4, 52.5]}),
        ("location", {"type": "Point", "coordinates": [13.4, 90.1]}),
        ("location", {"type": "Point", "coordinates": ["nan", 0]}),
        ("location", {"type": "Point", "coordinates": [True, 0]}),
        ("radiusMeters", -1),
        ("radiusMeters", 1e999),
        ("radiusMeters", 10**400),
        ("validfrom", -1),
        ("validuntil", "tomorrow"),
        ("isActive", 1),
        ("images", ["x"] * 65),
        ("images", ["x" * 2_000] * 9),
        ("images", ["\U0001f35e" * 2_000, "\U0001f35e" * 2_000, "\U0001f35e" * 2_000]),
        ("images", [5]),
        ("place", []),
        ("extdata", "text"),
        ("extdata", {"a": "x" * 65_529}),
        ("place", {"a": ["x"] * 20_000}),
    ],
)
def test_wrong_value_is_refused_under_its_name(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(DOCUMENT | {field: value})
    assert [each.field for each in error.value.errors] == [field]


def test_end_before_the_begin_is_refused_also_when_one_is_changed() -> None:
    with pytest.raises(InvalidInput, match="validuntil: 1 is before validfrom, 2"):
        parse(DOCUMENT | {"validfrom": 2, "validuntil": 1})
    stored = parse(DOCUMENT | {"validfrom": 2, "validuntil": 2})
    with pytest.raises(InvalidInput, match="validuntil"):
        parse({"validfrom": 3}, stored)
