import random
import re

import pytest

from services.storage.core.objects import ObjectFields, StoredObject, create_object, delete_object
from services.storage.core.owed_events import bulk_event_id, event_params
from services.storage.core.sphere import GeoPoint

AT = GeoPoint(13.412345678, 52.523456789)


def stored(**fields: object) -> StoredObject:
    values = ObjectFields(**{"owner": "device", "location": AT, "keywords": ("a",), **fields})  # type: ignore[arg-type]
    return create_object("offer", "0" * 24, values, now_ms=1, random_unit=random.Random(1).random)


def test_event_has_the_true_location_only_if_the_owner_shows_it() -> None:
    shown = event_params(stored(show_location=True), "create")
    assert (shown["lng"], shown["lat"]) == ("13.412345678", "52.523456789")
    hidden = event_params(stored(), "create")
    assert not {"13.412345678", "52.523456789"} & set(hidden.values())


def test_event_of_a_deletion_is_inactive() -> None:
    assert event_params(stored(), "create")["isact"] == "true"
    assert event_params(delete_object(stored(), now_ms=2), "delete")["isact"] == "false"
    assert event_params(stored(is_active=False), "update")["isact"] == "false"


def test_title_is_cut() -> None:
    assert len(event_params(stored(text="x" * 5000), "create")["title"]) == 1000


@pytest.mark.parametrize("owner", ["importer", "a.1", "ä" * 256, "x" * 256, "a b/c?d", "\0"])
def test_id_of_a_bulk_event_is_short_and_printable(owner: str) -> None:
    assert re.fullmatch(r"[!-~]{1,128}", bulk_event_id(owner, 10**6))


def test_owners_have_different_bulk_events() -> None:
    owners = ["a", "a.1", "A", "x" * 200, "x" * 201, "%2E"]
    assert len({bulk_event_id(owner, 1) for owner in owners} | {bulk_event_id("a", 2)}) == len(owners) + 1
