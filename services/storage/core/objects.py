"""The model of an offer or a search, and the changes of it. All values are frozen: a change returns a new value."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from services.storage.core.keys import normalise_keywords, words_of
from services.storage.core.matching import MatchSide, SubjectKind
from services.storage.core.movement import KEPT_FIXES, Fix
from services.storage.core.public_points import cell_of, public_point
from services.storage.core.radii import DEFAULT_RADIUS_M, parse_radius, radius_class
from services.storage.core.sphere import GeoPoint, parse_point

RANK_SINGLE: Final = 0
RANK_FAN_OUT: Final = 1
RANK_IMPORT: Final = 2
RANKS: Final = (RANK_SINGLE, RANK_FAN_OUT, RANK_IMPORT)
"""The ranks of due objects. A lower rank is matched first. A single change with more candidates than a slice continues
with RANK_FAN_OUT; a change of a bulk request begins with RANK_IMPORT."""
RANK_RETRIED: Final = 3
"""The rank of encounters that could not be reported, probably because the notificationserver is down. Those that were
not tried yet come first: if these ones alone cannot be reported, they stop no others."""
RANK_FAILING: Final = 4
"""The rank of a document whose work fails while that of others succeeds. It waits behind all others, and is tried again
after a pause."""


class ObjectFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that a client sets."""

    owner: str
    location: GeoPoint
    keywords: tuple[str, ...] = ()
    text: str = ""
    radius_m: float = DEFAULT_RADIUS_M
    valid_from_ms: int | None = None
    valid_until_ms: int | None = None
    is_active: bool = True
    is_mobile: bool = False
    show_location: bool = False
    allow_contacts: bool = False
    trusted: bool = False
    place: Mapping[str, Any] = msgspec.field(default_factory=dict)
    images: tuple[str | None, ...] = ()
    extdata: Mapping[str, Any] = msgspec.field(default_factory=dict)


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """An offer or a search, as the store keeps it."""

    id: str
    kind: SubjectKind
    fields: ObjectFields
    keys: tuple[str, ...]
    """The normalised keywords."""
    words: tuple[str, ...]
    """The normalised words of the text."""
    public_location: GeoPoint
    """The location that others see if `show_location` is false."""
    created_ms: int
    modified_ms: int
    version: int = 1
    """Each change adds 1."""
    edited_version: int = 1
    """The version of the last change that was more than a new location fix."""
    due_at_ms: int | None = None
    """The time from which it must be matched; None: nothing is due."""
    due_rank: int = RANK_SINGLE
    fix: Fix | None = None
    """The newest fix of a moving object, also if it is too inexact to be matched."""
    fixes: tuple[Fix, ...] = ()
    """The newest exact fixes, oldest first."""
    matched_location: GeoPoint | None = None
    """The location where it was last matched."""
    is_leaving: bool = False
    """Whether a pair of this object was leaving when it was last matched."""
    is_deleted: bool = False
    """A tombstone: it stays until its pairs have ended and its events are out."""

    @property
    def radius_class(self) -> int:
        """The class of the radius in the index."""
        return radius_class(self.fields.radius_m)

    @property
    def is_matchable(self) -> bool:
        """Whether it can match now or later."""
        return self.fields.is_active and not self.is_deleted

    @property
    def current_matched_location(self) -> GeoPoint | None:
        """The location where it was last matched, or None while a newer location waits for its matching."""
        return self.matched_location if self.matched_location == self.fields.location else None

    @property
    def side(self) -> MatchSide:
        """The fields that the rule needs."""
        fields = self.fields
        return MatchSide(
            id=self.id,
            owner=fields.owner,
            location=fields.location,
            radius_m=fields.radius_m,
            keys=self.keys,
            version=self.version,
            edited_version=self.edited_version,
            is_active=self.is_matchable,
            valid_from_ms=fields.valid_from_ms,
            valid_until_ms=fields.valid_until_ms,
            fixed_ms=self.fixes[-1].at_ms if self.fixes else 0,
        )

    def next_due_ms(self, now_ms: int) -> int | None:
        """Return when a matching that is done now must be repeated without a change: at the start or end of validity.

        None: never.
        """
        if not self.is_matchable:
            return None
        borders = (self.fields.valid_from_ms, self.fields.valid_until_ms)
        return min((border for border in borders if border is not None and border > now_ms), default=None)


def create_object(  # noqa: PLR0913 - the object, the time, the random numbers and the rank
    kind: SubjectKind,
    object_id: str,
    fields: ObjectFields,
    *,
    now_ms: int,
    random_unit: Callable[[], float],
    rank: int = RANK_SINGLE,
) -> StoredObject:
    """Return a new object, which is due when it becomes valid.

    Raises InvalidKeywords, InvalidLocation or InvalidRadius. `random_unit` draws the public location (see
    `public_points.seeded_unit`).
    """
    _check(fields)
    return StoredObject(
        id=object_id,
        kind=kind,
        fields=fields,
        keys=normalise_keywords(fields.keywords),
        words=words_of(fields.text),
        public_location=public_point(fields.location, random_unit),
        created_ms=now_ms,
        modified_ms=now_ms,
        due_at_ms=_due_ms(fields, now_ms),
        due_rank=rank,
    )


def change_object(
    stored: StoredObject,
    fields: ObjectFields,
    *,
    now_ms: int,
    random_unit: Callable[[], float],
    rank: int = RANK_SINGLE,
) -> StoredObject:
    """Return the object with other fields and the next version. It becomes due if the change can alter a match.

    Raises InvalidKeywords, InvalidLocation or InvalidRadius.
    """
    _check(fields)
    keys = normalise_keywords(fields.keywords)
    alters = keys != stored.keys or any(getattr(fields, each) != getattr(stored.fields, each) for each in _RULE_FIELDS)
    changed = msgspec.structs.replace(
        stored,
        fields=fields,
        keys=keys,
        words=words_of(fields.text),
        public_location=_public_point(stored, fields, random_unit),
        modified_ms=now_ms,
        version=stored.version + 1,
        edited_version=stored.version + 1 if alters else stored.edited_version,
    )
    return _due(changed, now_ms, rank) if alters else changed


def with_true_location(stored: StoredObject, fields: ObjectFields) -> ObjectFields:
    """Return the fields of a change with the true location and place, if they have the public location.

    Old clients read an object and send the whole document back. That must not move a hidden object to the location
    that others see.
    """
    if fields.location != stored.public_location:
        return fields
    place = fields.place or stored.fields.place
    return msgspec.structs.replace(fields, location=stored.fields.location, place=place)


def move_object(
    stored: StoredObject, fix: Fix, *, exact: bool, now_ms: int, random_unit: Callable[[], float]
) -> StoredObject:
    """Return the object after a fix that has an effect (see `movement.effect_of`).

    An exact fix moves the object, empties its place (as in the old system) and makes it due. Another fix is stored and
    nothing else.
    """
    parse_point(*fix.location)
    moved = msgspec.structs.replace(stored, version=stored.version + 1, modified_ms=now_ms, fix=fix)
    if not exact:
        return moved
    fields = msgspec.structs.replace(stored.fields, location=fix.location, place={})
    moved = msgspec.structs.replace(
        moved,
        fields=fields,
        fixes=(*stored.fixes, fix)[-KEPT_FIXES:],
        public_location=_public_point(stored, fields, random_unit),
    )
    return _due(moved, now_ms, RANK_SINGLE)


def delete_object(stored: StoredObject, *, now_ms: int, rank: int = RANK_SINGLE) -> StoredObject:
    """Return the tombstone of an object. It is due, so that its pairs end."""
    changed = msgspec.structs.replace(
        stored,
        is_deleted=True,
        modified_ms=now_ms,
        version=stored.version + 1,
        edited_version=stored.version + 1,
    )
    return _due(changed, now_ms, rank)


_RULE_FIELDS: Final = ("owner", "location", "radius_m", "valid_from_ms", "valid_until_ms", "is_active")


def _check(fields: ObjectFields) -> None:
    parse_point(*fields.location)
    parse_radius(fields.radius_m)


def _public_point(stored: StoredObject, fields: ObjectFields, random_unit: Callable[[], float]) -> GeoPoint:
    """Return the public location after a change. It is drawn again only for another owner or another cell."""
    if fields.owner == stored.fields.owner and cell_of(fields.location) == cell_of(stored.fields.location):
        return stored.public_location
    return public_point(fields.location, random_unit)


def _due_ms(fields: ObjectFields, now_ms: int) -> int:
    return max(now_ms, fields.valid_from_ms or now_ms)


def _due(changed: StoredObject, now_ms: int, rank: int) -> StoredObject:
    """Return the object due. A mark that waits already keeps its time and its rank if they are earlier.

    The pairs of an object that leaves its validity must end now, so only a new object waits for its validity.
    """
    if changed.due_at_ms is None or changed.due_at_ms > now_ms:
        return msgspec.structs.replace(changed, due_at_ms=now_ms, due_rank=rank)
    return msgspec.structs.replace(changed, due_rank=min(rank, changed.due_rank))
