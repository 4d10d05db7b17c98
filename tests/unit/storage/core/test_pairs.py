import msgspec
import pytest

from services.storage.core.matching import MatchSide, decide
from services.storage.core.movement import Fix, Leaving
from services.storage.core.pairs import (
    Judged,
    PairState,
    age_of,
    is_worth_notifying,
    next_state,
    notification_id,
    send_by_hand,
)
from services.storage.core.sphere import GeoPoint

OFFER = MatchSide("o", "ann", GeoPoint(0, 0), 500, ("x",))
SEARCH = MatchSide("s", "bob", GeoPoint(0, 0.001), 500, ("x",))
OUTSIDE = GeoPoint(0, 0.006)  # 668 m


def judged(offer: MatchSide = OFFER, search: MatchSide = SEARCH, now: int = 1000, *fixes: Fix) -> Judged:
    return Judged(offer, search, decide(offer, search, now), now, search_fixes=fixes)


def with_(side: MatchSide, **changes: object) -> MatchSide:
    return msgspec.structs.replace(side, **changes)


def entered() -> PairState:
    pair = next_state(None, judged())
    assert pair is not None
    return pair


def test_match_begins_the_first_encounter() -> None:
    pair = entered()
    assert (pair.id, pair.is_in, pair.encounter, pair.since_ms, list(pair.owed_encounters)) == (
        "s.o",
        True,
        1,
        1000,
        [1],
    )
    assert notification_id("s", "o", 1) == "s.o.1"


def test_no_match_of_an_unknown_pair_is_nothing() -> None:
    assert next_state(None, judged(search=with_(SEARCH, location=OUTSIDE))) is None


def test_replay_and_edit_begin_no_encounter() -> None:
    again = next_state(entered(), judged(offer=with_(OFFER, version=2, edited_version=2), now=2000))
    assert again is not None
    assert (again.is_in, again.encounter, again.since_ms, again.offer_version) == (True, 1, 1000, 2)


def test_edit_ends_a_pair_at_once_and_a_return_is_a_new_encounter() -> None:
    moved = with_(SEARCH, location=OUTSIDE, version=2, edited_version=2)
    out = next_state(entered(), judged(search=moved, now=2000))
    assert out is not None
    assert (out.is_in, out.since_ms, out.encounter) == (False, 2000, 1)
    back = next_state(out, judged(search=with_(SEARCH, version=3, edited_version=3), now=3000))
    assert back is not None
    assert (back.is_in, back.encounter) == (True, 2)


@pytest.mark.parametrize("changes", [{"valid_until_ms": 1500}, {"is_active": False}, {"keys": ("y",)}])
def test_other_reasons_than_distance_end_a_pair_at_once(changes: dict[str, object]) -> None:
    out = next_state(entered(), judged(offer=with_(OFFER, **changes), now=2000))
    assert out is not None
    assert not out.is_in


def test_moved_object_stays_in_until_it_has_left() -> None:
    moved = with_(SEARCH, location=OUTSIDE, version=2)
    first = Fix(2000, OUTSIDE, 5)
    staying = next_state(entered(), judged(OFFER, moved, 2000, first))
    assert staying is not None
    assert staying.is_in
    assert staying.is_leaving
    gone = next_state(staying, judged(OFFER, with_(moved, version=3), 130_000, first, Fix(122_000, OUTSIDE, 5)))
    assert gone is not None
    assert not gone.is_in


def test_object_that_was_out_and_is_back_between_two_matchings_has_a_second_encounter() -> None:
    fixes = [Fix(2000, OUTSIDE, 5), Fix(130_000, OUTSIDE, 5), Fix(300_000, SEARCH.location, 5)]
    back = next_state(entered(), judged(OFFER, with_(SEARCH, version=4, fixed_ms=300_000), 301_000, *fixes))
    assert back is not None
    assert (back.is_in, back.encounter, back.search_leaving) == (True, 2, Leaving(seen_ms=300_000))


def test_fixes_before_entering_do_not_count() -> None:
    pair = next_state(None, judged(search=with_(SEARCH, fixed_ms=300_000), now=301_000))
    old = [Fix(2000, OUTSIDE, 5), Fix(130_000, OUTSIDE, 5), Fix(300_000, SEARCH.location, 5)]
    again = next_state(pair, judged(OFFER, with_(SEARCH, fixed_ms=300_000), 302_000, *old))
    assert again is not None
    assert again.encounter == 1


@pytest.mark.parametrize(
    ("search_version", "offer_version", "now", "age"),
    [
        (5, 5, 1000, "newer"),
        (5, 5, 999, "older"),
        (5, 6, 999, "newer"),
        (4, 5, 2000, "older"),
        (4, 4, 2000, "older"),
        (4, 6, 2000, "mixed"),
        (6, 4, 2000, "mixed"),
    ],
)
def test_age_of_a_decision(search_version: int, offer_version: int, now: int, age: str) -> None:
    pair = next_state(None, judged(with_(OFFER, version=5), with_(SEARCH, version=5)))
    assert pair is not None
    assert age_of(pair, judged(with_(OFFER, version=offer_version), with_(SEARCH, version=search_version), now)) == age


@pytest.mark.parametrize(
    ("search", "worth"),
    [
        (SEARCH, True),
        (with_(SEARCH, location=OUTSIDE, version=2), True),
        (with_(SEARCH, location=OUTSIDE, version=2, edited_version=2), False),
        (with_(SEARCH, is_active=False, version=2, edited_version=2), False),
        (with_(SEARCH, valid_until_ms=1500), False),
    ],
)
def test_owed_encounter_is_reported_unless_an_edit_or_an_expiry_ended_it(search: MatchSide, *, worth: bool) -> None:
    assert is_worth_notifying(entered(), judged(search=search, now=2000)) is worth


def test_encounter_that_an_edit_ended_is_not_reported_afterwards() -> None:
    out = next_state(entered(), judged(search=with_(SEARCH, location=OUTSIDE, version=2, edited_version=2), now=2000))
    assert out is not None
    assert not is_worth_notifying(out, judged(search=with_(SEARCH, location=OUTSIDE, version=2), now=3000))


def test_encounter_that_ended_because_the_object_moved_on_is_reported_afterwards() -> None:
    fixes = [Fix(2000, OUTSIDE, 5), Fix(122_000, OUTSIDE, 5)]
    moved = with_(SEARCH, location=OUTSIDE, version=3)
    out = next_state(entered(), judged(OFFER, moved, 130_000, *fixes))
    assert out is not None
    assert not out.is_in
    assert is_worth_notifying(out, judged(search=moved, now=140_000))


def test_sending_by_hand_adds_an_encounter_and_leaves_the_pair_out() -> None:
    far = judged(search=with_(SEARCH, location=OUTSIDE))
    first = send_by_hand(None, far)
    again = send_by_hand(first, far._replace(now_ms=2000))
    assert [(pair.is_in, pair.encounter, pair.revision) for pair in (first, again)] == [(False, 1, 1), (False, 2, 2)]
    assert list(again.sent_by_hand) == [(1, 1000), (2, 2000)]
    assert (again.is_sent_by_hand(2), again.is_sent_by_hand(3), again.encounter_ms) == (True, False, 2000)


def test_entering_after_sending_by_hand_is_the_next_encounter() -> None:
    sent = send_by_hand(None, judged(search=with_(SEARCH, location=OUTSIDE)))
    entered_later = next_state(sent, judged(search=with_(SEARCH, version=2, edited_version=2), now=2000))
    assert entered_later is not None
    assert (entered_later.is_in, entered_later.encounter, list(entered_later.owed_encounters)) == (True, 2, [1, 2])
    assert [entered_later.is_sent_by_hand(number) for number in (1, 2)] == [True, False]
    by_hand_while_in = send_by_hand(entered_later, judged(now=3000))
    assert (by_hand_while_in.is_in, by_hand_while_in.since_ms, by_hand_while_in.encounter) == (True, 2000, 3)


def test_pair_keeps_the_latest_encounters_sent_by_hand() -> None:
    pair = None
    for number in range(40):
        pair = send_by_hand(pair, judged(now=number))
    assert pair is not None
    assert [sent.encounter for sent in pair.sent_by_hand] == list(range(9, 41))
