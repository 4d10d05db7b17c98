import random

import msgspec
import pytest

from services.storage.core.keys import InvalidKeywords
from services.storage.core.movement import Fix
from services.storage.core.objects import (
    RANK_IMPORT,
    RANK_SINGLE,
    ObjectFields,
    StoredObject,
    change_object,
    create_object,
    delete_object,
    move_object,
)
from services.storage.core.sphere import GeoPoint, InvalidLocation

UNIT = random.Random(1).random
FIELDS = ObjectFields(owner="ann", location=GeoPoint(13.4, 52.5), keywords=("Kaffee ", "BÄR"), text="Ein Café")


def created(fields: ObjectFields = FIELDS, **options: int) -> StoredObject:
    return create_object("offer", "o1", fields, now_ms=100, random_unit=UNIT, **options)


def matched(stored: StoredObject) -> StoredObject:
    return msgspec.structs.replace(stored, due_at_ms=None, matched_location=stored.fields.location)


def test_new_object_has_keys_words_class_and_is_due() -> None:
    stored = created()
    assert (stored.keys, stored.words, stored.radius_class) == (("kaffee", "bar"), ("ein", "cafe"), 9)
    assert (stored.version, stored.due_at_ms, stored.due_rank) == (1, 100, RANK_SINGLE)


def test_new_object_is_due_when_it_becomes_valid() -> None:
    assert created(msgspec.structs.replace(FIELDS, valid_from_ms=5000)).due_at_ms == 5000
    assert created(msgspec.structs.replace(FIELDS, valid_from_ms=5)).due_at_ms == 100


def test_invalid_fields_are_rejected() -> None:
    with pytest.raises(InvalidLocation):
        created(msgspec.structs.replace(FIELDS, location=GeoPoint(0, 91)))
    with pytest.raises(InvalidKeywords):
        created(msgspec.structs.replace(FIELDS, keywords=("x" * 65,)))


def change(stored: StoredObject, **changes: object) -> StoredObject:
    return change_object(stored, msgspec.structs.replace(stored.fields, **changes), now_ms=200, random_unit=UNIT)


def test_new_title_is_a_version_and_makes_nothing_due() -> None:
    changed = change(matched(created()), text="Neu", images=("/a",))
    assert (changed.version, changed.edited_version, changed.due_at_ms) == (2, 1, None)
    assert changed.words == ("neu",)


def test_new_title_keeps_a_mark_that_waits() -> None:
    assert change(created(), text="Neu").due_at_ms == 100


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "bob"},
        {"location": GeoPoint(0, 0)},
        {"keywords": ("tee",)},
        {"radius_m": 501.0},
        {"valid_from_ms": 7},
        {"valid_until_ms": 7000},
        {"is_active": False},
    ],
)
def test_change_that_can_alter_a_match_is_due_at_once(changes: dict[str, object]) -> None:
    changed = change(matched(created()), **changes)
    assert (changed.version, changed.edited_version, changed.due_at_ms) == (2, 2, 200)


def test_keyword_of_the_same_key_makes_nothing_due() -> None:
    assert change(matched(created()), keywords=("kaffee", "bär")).due_at_ms is None


def test_import_does_not_lower_the_rank_of_a_waiting_single_change() -> None:
    fields = msgspec.structs.replace(FIELDS, radius_m=9.0)
    later = change_object(created(), fields, now_ms=200, random_unit=UNIT, rank=RANK_IMPORT)
    assert (later.due_at_ms, later.due_rank) == (100, RANK_SINGLE)


def test_moved_object_is_due_and_is_not_edited() -> None:
    stored = matched(created(msgspec.structs.replace(FIELDS, is_mobile=True, place={"en": {"route": "A"}})))
    fix = Fix(150, GeoPoint(13.5, 52.5), 12.0)
    moved = move_object(stored, fix, exact=True, now_ms=200, random_unit=UNIT)
    assert (moved.version, moved.edited_version, moved.due_at_ms) == (2, 1, 200)
    assert (moved.fields.location, moved.fields.place, moved.fix, moved.fixes) == (fix.location, {}, fix, (fix,))
    assert stored.current_matched_location == stored.fields.location
    assert moved.current_matched_location is None


def test_inexact_fix_is_stored_only() -> None:
    stored = matched(created())
    moved = move_object(stored, Fix(150, GeoPoint(0, 0), 900.0), exact=False, now_ms=200, random_unit=UNIT)
    assert (moved.fields.location, moved.due_at_ms, moved.fixes) == (stored.fields.location, None, ())
    assert moved.fix == Fix(150, GeoPoint(0, 0), 900.0)


def test_tombstone_is_due_and_matches_nothing() -> None:
    deleted = delete_object(matched(created()), now_ms=200)
    assert (deleted.version, deleted.due_at_ms, deleted.side.is_active) == (2, 200, False)
    assert deleted.next_due_ms(300) is None


@pytest.mark.parametrize(("now", "due"), [(5, 10), (10, 20), (15, 20), (20, None)])
def test_borders_of_validity_are_due(now: int, due: int | None) -> None:
    stored = created(msgspec.structs.replace(FIELDS, valid_from_ms=10, valid_until_ms=20))
    assert stored.next_due_ms(now) == due


def test_public_location_is_drawn_again_only_in_another_cell_or_for_another_owner() -> None:
    stored = created()
    assert change(stored, text="Neu", show_location=True).public_location == stored.public_location
    near = GeoPoint(13.40001, 52.50001)
    assert change(stored, location=near).public_location == stored.public_location
    fix = Fix(150, near)
    moved = move_object(stored, fix, exact=True, now_ms=200, random_unit=UNIT)
    assert moved.public_location == stored.public_location
    assert change(stored, location=GeoPoint(13.5, 52.5)).public_location != stored.public_location
    assert change(stored, owner="bob").public_location != stored.public_location
