"""The difference between a feed and storage, and what a run may write of it.

Nothing is counted in the offers: an unchanged offer is not written, also when the feed lacks it. The ids that the last
trusted run lacked are kept beside the runs of the importer (README, Decisions).
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec

from services.offerserver.core.drafts import Draft, Parsed
from services.offerserver.core.fingerprints import Fingerprint, fingerprint
from services.offerserver.core.grades import RunGrade
from services.offerserver.core.importer import OfferSource
from services.offerserver.core.picture_names import kept_images

SLICE: Final = 1_500
"""The most offers of one bulk request: that of the old system."""
_Item = TypeVar("_Item")

RemovalReason = Literal["absent", "removed by the source", "ended", "duplicate", "stale"]
"""absent: two trusted runs in a row lacked it. ended: its own end has passed. duplicate: another offer has its id.
stale: its importer had no trusted run for too long."""


class KnownOffer(msgspec.Struct, frozen=True):
    """What storage has of an offer: ids, hashes, its end and its pictures."""

    offer_id: str
    source_id: str
    """Empty for an offer that an importer did not write."""
    fingerprint: Fingerprint
    valid_until_ms: int | None = None
    images: tuple[str, ...] = ()
    """The paths of its pictures."""


class NewItem(NamedTuple):
    """An item that storage does not have."""

    draft: Draft
    fingerprint: Fingerprint


class ChangedItem(NamedTuple):
    """An item that storage has in another form."""

    offer_id: str
    draft: Draft
    fingerprint: Fingerprint
    images: tuple[str, ...] = ()
    """The pictures that it keeps."""


class Removal(NamedTuple):
    """An offer to remove."""

    offer_id: str
    source_id: str
    reason: RemovalReason


class OfferChanges(msgspec.Struct, frozen=True, kw_only=True):
    """The difference. `allowed` returns the part that a run may write."""

    new: tuple[NewItem, ...] = ()
    matching: tuple[ChangedItem, ...] = ()
    """Place, radius, keywords or validity differ: people may have to know."""
    content: tuple[ChangedItem, ...] = ()
    """Only the rest differs: nobody has to know."""
    removals: tuple[Removal, ...] = ()
    absent: frozenset[str] = frozenset()
    """The source ids of known offers that the feed lacks and that stay. The next trusted run removes them."""
    unchanged: int = 0
    held: int = 0
    """Items that are not written because the source gave known items other ids."""

    @property
    def writes(self) -> int:
        """The number of offers to create, change or remove."""
        return len(self.new) + len(self.matching) + len(self.content) + len(self.removals)

    @property
    def is_news(self) -> bool:
        """Whether people may have to know: the event `bud` is due then, and only then."""
        return bool(self.new or self.matching)


def find_changes(  # noqa: PLR0913 - both sides, their source, and what is remembered of the last run
    parsed: Parsed,
    known: Iterable[KnownOffer],
    source: OfferSource,
    *,
    absent_before: Collection[str],
    now_ms: int,
    exchanged: Mapping[str, str],
) -> OfferChanges:
    """Return the difference between checked drafts and what storage has.

    `absent_before` has the source ids that the last trusted run lacked. `exchanged` (new id -> known id) are items that
    the source gave another id: the known offer is changed, so nobody is notified of it again.
    An item whose own end has passed is not imported, and its offer is removed.
    """
    by_id, removals = _known_by_id(known)
    new: list[NewItem] = []
    matching: list[ChangedItem] = []
    content: list[ChangedItem] = []
    present, ended = set(), set()
    unchanged = 0
    for draft in parsed.drafts:
        if draft.valid_until_ms is not None and draft.valid_until_ms <= now_ms:
            ended.add(draft.id)
            continue
        known_id = exchanged.get(draft.id, draft.id)
        found, mark = by_id.get(known_id), fingerprint(draft, source)
        present.add(known_id)
        if found is None:
            new.append(NewItem(draft, mark))
        elif found.fingerprint.match != mark.match:
            matching.append(_changed(found, draft, mark))
        elif found.fingerprint.content != mark.content or known_id != draft.id:
            content.append(_changed(found, draft, mark))
        else:
            unchanged += 1
    absent = set()
    for offer in by_id.values():
        if offer.source_id in present:
            continue
        if reason := _removal_reason(offer, parsed, ended, absent_before, now_ms):
            removals.append(Removal(offer.offer_id, offer.source_id, reason))
        else:
            absent.add(offer.source_id)
    return OfferChanges(
        new=tuple(new),
        matching=tuple(matching),
        content=tuple(content),
        removals=tuple(removals),
        absent=frozenset(absent),
        unchanged=unchanged,
    )


def allowed(changes: OfferChanges, grade: RunGrade) -> OfferChanges:
    """Return what a run of this grade may write.

    A partial run because of other ids does not write these items: the next feed may have the former ids again.
    """
    if grade.may_remove:
        return changes
    if not grade.may_write:
        return OfferChanges(unchanged=changes.unchanged)
    matching = tuple(item for item in changes.matching if item.draft.id not in grade.exchanged)
    content = tuple(item for item in changes.content if item.draft.id not in grade.exchanged)
    held = len(changes.matching) + len(changes.content) - len(matching) - len(content)
    return msgspec.structs.replace(changes, matching=matching, content=content, removals=(), held=held)


def has_ended(offer: KnownOffer, now_ms: int) -> bool:
    """Return whether the own end of an offer has passed."""
    return offer.valid_until_ms is not None and offer.valid_until_ms <= now_ms


def stale_removals(
    known: Iterable[KnownOffer], *, trusted_ms: int, now_ms: int, stale_after_s: float
) -> tuple[Removal, ...]:
    """Return the removal of all offers that an importer wrote, if its last trusted run is too long ago.

    Before the first trusted run, `trusted_ms` is the time of the first run.
    """
    if now_ms - trusted_ms <= 1000 * stale_after_s:
        return ()
    return tuple(Removal(offer.offer_id, offer.source_id, "stale") for offer in known if offer.source_id)


def offers_digest(known: Iterable[KnownOffer], version: str = "") -> str:
    """Return a digest of the offers of an importer in storage, and of its version."""
    rows = sorted([offer.offer_id, offer.source_id, *offer.fingerprint, *offer.images] for offer in known)
    state = [[version], *rows]
    return hashlib.sha256(msgspec.json.encode(state)).hexdigest()


def changes_digest(changes: OfferChanges, known: Iterable[KnownOffer]) -> str:
    """Return a digest of what would be written, and of the state of storage that it was computed from.

    An operator accepts a digest. If it differs when the run is accepted, storage or the run has changed since.
    """
    written = [
        offers_digest(known),
        sorted([item.draft.id, *item.fingerprint] for item in changes.new),
        sorted([item.offer_id, item.draft.id, *item.fingerprint] for item in (*changes.matching, *changes.content)),
        sorted(changes.removals),
        sorted(changes.absent),
    ]
    return hashlib.sha256(msgspec.json.encode(written)).hexdigest()


def slices(items: Sequence[_Item], size: int = SLICE) -> Iterator[Sequence[_Item]]:
    """Yield the items in parts of at most `size`."""
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]


def _changed(offer: KnownOffer, draft: Draft, mark: Fingerprint) -> ChangedItem:
    return ChangedItem(offer.offer_id, draft, mark, kept_images(draft.image_urls, offer.images))


def _known_by_id(known: Iterable[KnownOffer]) -> tuple[dict[str, KnownOffer], list[Removal]]:
    """Return the offers by their source id, and the removal of further offers of one id: the oldest offer stays.

    The ids of storage begin with their time. Offers without a source id are none of this importer's, and stay.
    """
    by_id: dict[str, KnownOffer] = {}
    removals: list[Removal] = []
    for offer in sorted(known, key=lambda each: each.offer_id):
        if not offer.source_id:
            continue
        if offer.source_id in by_id:
            removals.append(Removal(offer.offer_id, offer.source_id, "duplicate"))
        else:
            by_id[offer.source_id] = offer
    return by_id, removals


def _removal_reason(
    offer: KnownOffer, parsed: Parsed, ended: Collection[str], absent_before: Collection[str], now_ms: int
) -> RemovalReason | None:
    if offer.source_id in parsed.removed:
        return "removed by the source"
    if offer.source_id in ended or has_ended(offer, now_ms):
        return "ended"
    return "absent" if offer.source_id in absent_before else None
