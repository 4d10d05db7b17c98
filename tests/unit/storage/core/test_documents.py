from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.documents import from_document, from_pair_document, to_document, to_pair_document, to_side
from services.storage.core.keys import normalise_keywords
from services.storage.core.movement import Fix, Leaving
from services.storage.core.objects import ObjectFields, StoredObject
from services.storage.core.pairs import PairState, SentByHand
from services.storage.core.sphere import GeoPoint

POINTS = st.builds(GeoPoint, st.floats(-180, 180), st.floats(-90, 90))
TIMES = st.integers(0, 2**50)
IDS = st.from_regex(r"[0-9a-z_-]{1,24}", fullmatch=True)
FIXES = st.builds(Fix, TIMES, POINTS, st.floats(0, 1e5))
KEYWORDS = st.lists(st.text(min_size=1, max_size=8), max_size=4).map(tuple)
FIELDS = st.builds(
    ObjectFields,
    owner=st.text(),
    location=POINTS,
    keywords=KEYWORDS,
    text=st.text(),
    radius_m=st.floats(0, 100_000),
    valid_from_ms=st.none() | TIMES,
    valid_until_ms=st.none() | TIMES,
    is_active=st.booleans(),
    is_mobile=st.booleans(),
    show_location=st.booleans(),
    allow_contacts=st.booleans(),
    trusted=st.booleans(),
    place=st.just({"en": {"route": "A"}}),
    images=st.just(("/a", None)),
    extdata=st.just({"id": "$x.y"}),
)
OBJECTS = st.builds(
    StoredObject,
    id=IDS,
    kind=st.sampled_from(["offer", "search"]),
    fields=FIELDS,
    keys=KEYWORDS.map(normalise_keywords),
    words=KEYWORDS,
    public_location=POINTS,
    created_ms=TIMES,
    modified_ms=TIMES,
    version=TIMES,
    edited_version=TIMES,
    due_at_ms=st.none() | TIMES,
    due_rank=st.integers(0, 2),
    fix=st.none() | FIXES,
    fixes=st.lists(FIXES, max_size=3).map(tuple),
    matched_location=st.none() | POINTS,
    is_leaving=st.booleans(),
    is_deleted=st.booleans(),
)
PAIRS = st.builds(
    PairState,
    search_id=IDS,
    offer_id=IDS,
    is_in=st.booleans(),
    encounter=TIMES,
    since_ms=TIMES,
    distance_m=st.floats(0, 1e5),
    keys=KEYWORDS,
    search_version=TIMES,
    offer_version=TIMES,
    decided_ms=TIMES,
    offer_leaving=st.builds(Leaving, TIMES, TIMES, TIMES),
    search_leaving=st.builds(Leaving, TIMES, TIMES, TIMES),
    has_moved_out=st.booleans(),
    notified_encounter=TIMES,
    sent_by_hand=st.lists(st.builds(SentByHand, TIMES, TIMES), max_size=3).map(tuple),
    revision=TIMES,
)


@given(OBJECTS)
def test_object_survives_its_document(stored: StoredObject) -> None:
    assert from_document(stored.kind, to_document(stored)) == stored


@given(OBJECTS)
def test_document_gives_the_same_fields_for_the_rule(stored: StoredObject) -> None:
    assert to_side(to_document(stored)) == stored.side


@given(PAIRS)
def test_pair_survives_its_document(pair: PairState) -> None:
    assert from_pair_document(to_pair_document(pair)) == pair
