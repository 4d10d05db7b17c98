import random

from services.storage.core.objects import ObjectFields, StoredObject, create_object
from services.storage.core.responses import ranked_object, visible_object
from services.storage.core.sphere import GeoPoint

AT = GeoPoint(13.412345678, 52.523456789)


def stored(*, show_location: bool, keywords: tuple[str, ...] = ("a",)) -> StoredObject:
    fields = ObjectFields(
        owner="device",
        location=AT,
        keywords=keywords,
        show_location=show_location,
        place={"street": "Main street"},
        extdata={"%24id": "1"},
    )
    return create_object("offer", "0" * 24, fields, now_ms=1, random_unit=random.Random(1).random)


def test_hidden_location_and_its_address_reach_the_owner_only() -> None:
    hidden = stored(show_location=False)
    other = visible_object(hidden, is_own=False)
    assert not {repr(AT.lng), repr(AT.lat), "Main street"} & set(repr(other).replace("'", " ").split())
    assert other["location"]["coordinates"] == list(hidden.public_location)
    assert other["place"] == {}
    own = visible_object(hidden, is_own=True)
    assert (own["location"]["coordinates"], own["place"]) == (list(AT), {"street": "Main street"})


def test_shown_location_reaches_all() -> None:
    assert visible_object(stored(show_location=True), is_own=False)["location"]["coordinates"] == list(AT)


def test_extras_are_as_the_client_sent_them() -> None:
    assert visible_object(stored(show_location=True), is_own=True)["extdata"] == {"$id": "1"}


def test_rank_counts_equal_keywords_once_by_the_first() -> None:
    ranked = ranked_object(
        stored(show_location=True, keywords=("Tea", "Café", "CAFE", "bar")), ("cafe", "bar"), is_own=False
    )
    assert (ranked["rank"], ranked["isKeyword"]) == (2, [1, 3])
