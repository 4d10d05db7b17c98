"""The form of objects and pairs in MongoDB. Encoder and decoder stand side by side.

The names of the old system stay where it had a field, so that an operator's queries keep working. A document is encoded
whole: the store writes and reads nothing else.
"""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from services.storage.core.document_forms import (
    FixForm,
    MalformedDocument,
    ObjectForm,
    PairForm,
    StoredDocument,
    read_form,
)
from services.storage.core.matching import MatchSide, SubjectKind
from services.storage.core.movement import Fix, Leaving
from services.storage.core.objects import ObjectFields, StoredObject
from services.storage.core.pairs import PairState, SentByHand, pair_id
from services.storage.core.sphere import GeoPoint

_SIDE_FIELDS: Final = (
    *("owner", "location.coordinates", "radiusMeters", "keys", "version", "edited", "isActive"),
    *("validfrom", "validuntil", "fixed"),
)
SIDE_PROJECTION: Final[Mapping[str, int]] = dict.fromkeys(_SIDE_FIELDS, 1)
"""The fields that `to_side` reads."""


def to_document(stored: StoredObject) -> dict[str, Any]:
    """Return the document of an object. Fields that are None are left out: partial indexes depend on that."""
    fields = stored.fields
    document = {
        "_id": stored.id,
        "owner": fields.owner,
        "text": fields.text,
        "keywords": list(fields.keywords),
        "location": _point(fields.location),
        "radiusMeters": fields.radius_m,
        "place": dict(fields.place),
        "showLocation": fields.show_location,
        "allowContacts": fields.allow_contacts,
        "isMobile": fields.is_mobile,
        # The index contains only active objects, and a tombstone must not be in it.
        "isActive": stored.is_matchable,
        "trusted": fields.trusted,
        "images": list(fields.images),
        "extdata": dict(fields.extdata),
        "validfrom": fields.valid_from_ms,
        "validuntil": fields.valid_until_ms,
        "created": stored.created_ms,
        "modified": stored.modified_ms,
        "version": stored.version,
        "edited": stored.edited_version,
        "class": stored.radius_class,
        "keys": list(stored.keys),
        "words": list(stored.words),
        "public_location": _point(stored.public_location),
        "due_at": stored.due_at_ms,
        "due_rank": stored.due_rank,
        "fix": None if stored.fix is None else _fix(stored.fix),
        "fixes": [_fix(fix) for fix in stored.fixes],
        "fixed": stored.fixes[-1].at_ms if stored.fixes else None,
        "matched_location": None if stored.matched_location is None else list(stored.matched_location),
        "leaving": stored.is_leaving,
        "deleted": {"active": fields.is_active} if stored.is_deleted else None,
    }
    return {name: value for name, value in document.items() if value is not None}


def from_document(kind: SubjectKind, document: StoredDocument) -> StoredObject:
    """Return the object of a document that `to_document` made. Other fields of the document are ignored.

    Raises MalformedDocument.
    """
    read = read_form(document, ObjectForm)
    _check_id(read.id)
    fields = ObjectFields(
        owner=read.owner,
        text=read.text,
        keywords=read.keywords,
        location=GeoPoint(*read.location.coordinates),
        radius_m=read.radius_m,
        valid_from_ms=_to_time(read.validfrom),
        valid_until_ms=_to_time(read.validuntil),
        is_active=read.is_active if read.deleted is None else read.deleted.active,
        is_mobile=read.is_mobile,
        show_location=read.show_location,
        allow_contacts=read.allow_contacts,
        trusted=read.trusted,
        place=read.place,
        images=read.images,
        extdata=read.extdata,
    )
    return StoredObject(
        id=read.id,
        kind=kind,
        fields=fields,
        keys=read.keys,
        words=read.words,
        public_location=GeoPoint(*read.public_location.coordinates),
        created_ms=read.created,
        modified_ms=read.modified,
        version=read.version,
        edited_version=read.edited,
        due_at_ms=read.due_at,
        due_rank=read.due_rank,
        fix=None if read.fix is None else _to_fix(read.fix),
        fixes=tuple([_to_fix(each) for each in read.fixes]),
        matched_location=None if read.matched_location is None else GeoPoint(*read.matched_location),
        is_leaving=read.leaving,
        is_deleted=read.deleted is not None,
    )


def from_documents(kind: SubjectKind, documents: Iterable[StoredDocument]) -> list[StoredObject]:
    """Return the objects of documents. Malformed ones are left out, since they must not hide the others."""
    objects: list[StoredObject] = []
    for document in documents:
        with contextlib.suppress(MalformedDocument):
            objects.append(from_document(kind, document))
    return objects


def to_side(document: StoredDocument) -> MatchSide:
    """Return the fields for the rule from a document with at least SIDE_PROJECTION. Raises MalformedDocument."""
    try:
        longitude, latitude = document["location"]["coordinates"]
        side = MatchSide(
            document["_id"],
            document["owner"],
            GeoPoint(longitude, latitude),
            document["radiusMeters"],
            tuple(document["keys"]),
            document["version"],
            document["edited"],
            document["isActive"],
            document.get("validfrom"),
            document.get("validuntil"),
            document.get("fixed", 0),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedDocument(f"{type(error).__name__}: {error}") from None
    # A matching reads many thousands of these documents. These checks take a tenth of the time of a whole conversion.
    is_valid = (
        isinstance(side.id, str)
        and isinstance(side.owner, str)
        and isinstance(longitude, _NUMBERS)
        and isinstance(latitude, _NUMBERS)
        and isinstance(side.radius_m, _NUMBERS)
        and side.radius_m >= 0.0
        and isinstance(side.version, int)
        and isinstance(side.edited_version, int)
        and isinstance(side.fixed_ms, int)
        and (side.valid_from_ms is None or _is_time(side.valid_from_ms))
        and (side.valid_until_ms is None or _is_time(side.valid_until_ms))
    )
    if not is_valid:
        raise MalformedDocument("a field for the rule has a wrong type or value")
    _check_id(side.id)
    return side


_NUMBERS: Final = (int, float)
_TIME_LIMIT_MS: Final = 2**63
"""A person can enter a float that is not finite or has more than 64 bits. As an integer, MongoDB could not hold it."""


def to_sides(documents: Iterable[StoredDocument]) -> tuple[list[MatchSide], list[Any]]:
    """Return the fields for the rule, and the ids of the malformed documents, which can have any type."""
    sides: list[MatchSide] = []
    malformed: list[Any] = []
    for document in documents:
        try:
            sides.append(to_side(document))
        except MalformedDocument:
            malformed.append(document["_id"])
    return sides, malformed


def to_pair_document(pair: PairState) -> dict[str, Any]:
    """Return the document of a pair."""
    return {
        "_id": pair.id,
        "search": pair.search_id,
        "offer": pair.offer_id,
        "in": pair.is_in,
        "encounter": pair.encounter,
        "since": pair.since_ms,
        "distance": pair.distance_m,
        "keys": list(pair.keys),
        "search_version": pair.search_version,
        "offer_version": pair.offer_version,
        "decided": pair.decided_ms,
        "offer_leaving": list(msgspec.structs.astuple(pair.offer_leaving)),
        "search_leaving": list(msgspec.structs.astuple(pair.search_leaving)),
        "moved_out": pair.has_moved_out,
        "notified": pair.notified_encounter,
        "by_hand": [list(sent) for sent in pair.sent_by_hand],
        "revision": pair.revision,
    }


def from_pair_document(document: StoredDocument) -> PairState:
    """Return the pair of a document that `to_pair_document` made. Raises MalformedDocument."""
    read = read_form(document, PairForm)
    if document["_id"] != pair_id(read.search, read.offer):
        raise MalformedDocument(f"the id {document['_id']!r} is not the one of the search and the offer")
    return PairState(
        search_id=read.search,
        offer_id=read.offer,
        is_in=read.is_in,
        encounter=read.encounter,
        since_ms=read.since,
        distance_m=read.distance,
        keys=read.keys,
        search_version=read.search_version,
        offer_version=read.offer_version,
        decided_ms=read.decided,
        offer_leaving=Leaving(*read.offer_leaving),
        search_leaving=Leaving(*read.search_leaving),
        has_moved_out=read.moved_out,
        notified_encounter=read.notified,
        sent_by_hand=tuple([SentByHand(*sent) for sent in read.by_hand]),
        revision=read.revision,
    )


def _check_id(object_id: str) -> None:
    # The id of a pair joins two ids by a dot, and a header carries it.
    if "." in object_id or not object_id.isascii() or not object_id.isprintable():
        raise MalformedDocument(f"the id {object_id!r} has a character that no id has")


def _to_time(value: float | None) -> int | None:
    if value is None:
        return None
    if not _is_time(value):
        raise MalformedDocument(f"{value!r} is no time in ms of at most 64 bits")
    return int(value)


def _is_time(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and -_TIME_LIMIT_MS <= value < _TIME_LIMIT_MS  # NaN is never within limits


def _point(point: GeoPoint) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [point.lng, point.lat]}


def _fix(fix: Fix) -> dict[str, Any]:
    return {"at": fix.at_ms, "location": list(fix.location), "accuracy": fix.accuracy_m}


def _to_fix(read: FixForm) -> Fix:
    return Fix(read.at, GeoPoint(*read.location), read.accuracy)
