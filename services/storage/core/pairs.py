"""The state of a pair, and the state after a decision.

A pair is in from entering to leaving: an encounter. Each encounter has a number, and is reported to people once. A
decision that was made from older versions of the objects never replaces a newer one.
"""

from typing import Final, Literal, NamedTuple

import msgspec

from services.storage.core.matching import Decision, Match, MatchSide, NoMatch
from services.storage.core.movement import LEAVE_S, Fix, Leaving, follow

MAX_SENT_BY_HAND: Final = 32
"""The number of latest encounters sent by hand that a pair keeps."""


class SentByHand(NamedTuple):
    """An encounter that an operator has sent by hand, whatever the rule decides."""

    encounter: int
    at_ms: int


ReportOutcome = Literal["accepted", "refused", "ended"]
"""The end of an encounter that was owed.

- accepted, refused: by the notificationserver
- ended: not sent, because an edit, an expiry or a deletion had ended the pair
"""


class EncounterReport(NamedTuple):
    """The end of an owed encounter, with its time."""

    encounter: int
    at_ms: int
    outcome: ReportOutcome


class PairState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a pair of a search and an offer."""

    search_id: str
    offer_id: str
    is_in: bool
    encounter: int
    """The number of encounters: the times that the pair has entered, and those sent by hand."""
    since_ms: int
    """The time at which it entered or left."""
    distance_m: float
    keys: tuple[str, ...]
    search_version: int
    offer_version: int
    decided_ms: int
    offer_leaving: Leaving = Leaving()
    """The fixes outside of the offer; those of the search have a state of their own, with the clock of its device."""
    search_leaving: Leaving = Leaving()
    has_moved_out: bool = False
    """Whether the last encounter ended because an object moved on, not by an edit or an expiry."""
    notified_encounter: int = 0
    """The last encounter that the notificationserver has accepted."""
    sent_by_hand: tuple[SentByHand, ...] = ()
    revision: int = 1
    """Each write adds 1. A write succeeds only on the revision that it was made from."""

    @property
    def id(self) -> str:
        """The id of the pair."""
        return pair_id(self.search_id, self.offer_id)

    @property
    def is_leaving(self) -> bool:
        """Whether the newest fix of one of the objects was outside."""
        return self.is_in and (self.offer_leaving.fixes > 0 or self.search_leaving.fixes > 0)

    @property
    def encounter_ms(self) -> int:
        """The time at which the newest encounter began."""
        return max([self.since_ms, *(sent.at_ms for sent in self.sent_by_hand[-1:])])

    def is_sent_by_hand(self, encounter: int) -> bool:
        """Return whether an operator has sent this encounter."""
        return any(sent.encounter == encounter for sent in self.sent_by_hand)

    @property
    def owed_encounters(self) -> range:
        """The numbers of the encounters that are not reported yet."""
        return range(self.notified_encounter + 1, self.encounter + 1)


def pair_id(search_id: str, offer_id: str) -> str:
    """Return the id of a pair."""
    return f"{search_id}.{offer_id}"


def notification_id(search_id: str, offer_id: str, encounter: int) -> str:
    """Return the id of the notification of an encounter. The notificationserver acts once on each id."""
    return f"{search_id}.{offer_id}.{encounter}"


class Judged(NamedTuple):
    """A decision with what it was made from."""

    offer: MatchSide
    search: MatchSide
    decision: Decision
    now_ms: int
    offer_fixes: tuple[Fix, ...] = ()
    """The fixes of the offer that may be newer than the pair. Candidates have none, because only their own matching
    counts their fixes."""
    search_fixes: tuple[Fix, ...] = ()


Age = Literal["newer", "older", "mixed"]


def age_of(pair: PairState, judged: Judged) -> Age:
    """Compare a decision with the stored state.

    older, mixed: an object has an older version than in the stored state, so the decision was made from an object that
    is outdated, or that was restored or created again under its id. The pair must be decided from the current objects.
    """
    versions = (judged.search.version - pair.search_version, judged.offer.version - pair.offer_version)
    if min(versions) < 0:
        return "mixed" if max(versions) > 0 else "older"
    return "older" if max(versions) == 0 and judged.now_ms < pair.decided_ms else "newer"


def next_state(pair: PairState | None, judged: Judged, *, leave_s: float = LEAVE_S) -> PairState | None:
    """Return the state after a decision, or None if nothing is to be written. The decision is newer than the pair.

    An object with a lower version than in the pair was restored or created again. It counts as edited.

    Entering follows the rule exactly, and so does leaving after an edit or at the end of validity. If objects have only
    moved since the pair entered, it leaves by `movement.follow`.
    """
    offer, search, decision, now_ms = judged.offer, judged.search, judged.decision, judged.now_ms
    if pair is None:
        return _entered(judged, None) if isinstance(decision, Match) else None
    if not pair.is_in:
        return _entered(judged, pair) if isinstance(decision, Match) else None
    offer_leaving, search_leaving, left = _follow(pair, judged, leave_s)
    if isinstance(decision, Match) and left:  # out and back between two matchings
        return _entered(judged, pair)
    edited = _is_edited(search, pair.search_version) or _is_edited(offer, pair.offer_version)
    moved = isinstance(decision, NoMatch) and decision.is_distance_only and not edited
    stays = isinstance(decision, Match) or (moved and not left)
    return msgspec.structs.replace(
        pair,
        is_in=stays,
        since_ms=pair.since_ms if stays else now_ms,
        distance_m=decision.distance_m,
        keys=decision.keys,
        search_version=search.version,
        offer_version=offer.version,
        decided_ms=now_ms,
        offer_leaving=offer_leaving,
        search_leaving=search_leaving,
        has_moved_out=moved and not stays,
        revision=pair.revision + 1,
    )


def _entered(judged: Judged, pair: PairState | None) -> PairState:
    """Return the state at the begin of the next encounter."""
    return PairState(
        search_id=judged.search.id,
        offer_id=judged.offer.id,
        is_in=True,
        encounter=1 if pair is None else pair.encounter + 1,
        since_ms=judged.now_ms,
        distance_m=judged.decision.distance_m,
        keys=judged.decision.keys,
        search_version=judged.search.version,
        offer_version=judged.offer.version,
        decided_ms=judged.now_ms,
        offer_leaving=Leaving(seen_ms=judged.offer.fixed_ms),
        search_leaving=Leaving(seen_ms=judged.search.fixed_ms),
        notified_encounter=0 if pair is None else pair.notified_encounter,
        sent_by_hand=() if pair is None else pair.sent_by_hand,
        revision=1 if pair is None else pair.revision + 1,
    )


def send_by_hand(pair: PairState | None, judged: Judged) -> PairState:
    """Return the state with one more encounter, which is owed whatever the rule decides.

    The pair stays in or out: a later entering is an encounter of its own, with the next number.
    """
    if pair is None:
        pair = msgspec.structs.replace(_entered(judged, None), is_in=False, encounter=0, revision=0)
    sent = SentByHand(pair.encounter + 1, judged.now_ms)
    return msgspec.structs.replace(
        pair,
        encounter=sent.encounter,
        sent_by_hand=(*pair.sent_by_hand, sent)[-MAX_SENT_BY_HAND:],
        revision=pair.revision + 1,
    )


def _follow(pair: PairState, judged: Judged, leave_s: float) -> tuple[Leaving, Leaving, bool]:
    radius_m = min(judged.offer.radius_m, judged.search.radius_m)
    offer_leaving, offer_left = follow(
        pair.offer_leaving, judged.offer_fixes, centre=judged.search.location, radius_m=radius_m, leave_s=leave_s
    )
    search_leaving, search_left = follow(
        pair.search_leaving, judged.search_fixes, centre=judged.offer.location, radius_m=radius_m, leave_s=leave_s
    )
    return offer_leaving, search_leaving, offer_left or search_left


def is_worth_notifying(pair: PairState, judged: Judged) -> bool:
    """Return whether an owed encounter is still to be reported, from the current objects.

    It is not if an edit, the end of validity or a deletion has ended the pair meanwhile. An encounter that ended
    because an object moved on did happen, and is reported.
    """
    if not pair.is_in:
        return pair.has_moved_out
    if isinstance(judged.decision, Match):
        return True
    edited = _is_edited(judged.search, pair.search_version) or _is_edited(judged.offer, pair.offer_version)
    return judged.decision.is_distance_only and not edited


def _is_edited(side: MatchSide, decided_version: int) -> bool:
    return side.edited_version > decided_version or side.version < decided_version
