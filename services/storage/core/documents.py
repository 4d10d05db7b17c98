"""The form of objects and pairs in MongoDB. Encoder and decoder stand side by side.

The names of the old system stay where it had a field, so that an operator's queries keep working. A document is encoded
whole: the store writes and reads nothing else.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from services.storage.core.matching import MatchSide, SubjectKind
from services.storage.core.movement import Fix, Leaving
from services.storage.core.objects import RANK_SINGLE, ObjectFields, StoredObject
from services.storage.core.pairs import PairState, SentByHand
from services.storage.core.radii import DEFAULT_RADIUS_M
from services.storage.core.sphere import GeoPoint

StoredDocument = Mapping[str, Any]

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
    """Return the object of a document that `to_document` made. Other fields of the document are ignored."""
    deleted = document.get("deleted")
    matched = document.get("matched_location")
    fix = document.get("fix")
    fields = ObjectFields(
        owner=document["owner"],
        text=document.get("text", ""),
        keywords=tuple(document["keywords"]),
        location=GeoPoint(*document["location"]["coordinates"]),
        radius_m=document.get("radiusMeters", DEFAULT_RADIUS_M),
        valid_from_ms=document.get("validfrom"),
        valid_until_ms=document.get("validuntil"),
        is_active=document["isActive"] if deleted is None else deleted["active"],
        is_mobile=document.get("isMobile", False),
        show_location=document.get("showLocation", False),
        allow_contacts=document.get("allowContacts", False),
        trusted=document.get("trusted", False),
        place=document.get("place", {}),
        images=tuple(document.get("images", ())),
        extdata=document.get("extdata", {}),
    )
    return StoredObject(
        id=document["_id"],
        kind=kind,
        fields=fields,
        keys=tuple(document["keys"]),
        words=tuple(document["words"]),
        public_location=GeoPoint(*document["public_location"]["coordinates"]),
        created_ms=document["created"],
        modified_ms=document["modified"],
        version=document["version"],
        edited_version=document["edited"],
        due_at_ms=document.get("due_at"),
        due_rank=document.get("due_rank", RANK_SINGLE),
        fix=None if fix is None else _to_fix(fix),
        fixes=tuple(_to_fix(each) for each in document.get("fixes", ())),
        matched_location=None if matched is None else GeoPoint(*matched),
        is_leaving=document.get("leaving", False),
        is_deleted=deleted is not None,
    )


def to_side(document: StoredDocument) -> MatchSide:
    """Return the fields for the rule from a document with at least SIDE_PROJECTION."""
    longitude, latitude = document["location"]["coordinates"]
    return MatchSide(
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
    """Return the pair of a document that `to_pair_document` made."""
    return PairState(
        search_id=document["search"],
        offer_id=document["offer"],
        is_in=document["in"],
        encounter=document["encounter"],
        since_ms=document["since"],
        distance_m=document["distance"],
        keys=tuple(document["keys"]),
        search_version=document["search_version"],
        offer_version=document["offer_version"],
        decided_ms=document["decided"],
        offer_leaving=Leaving(*document["offer_leaving"]),
        search_leaving=Leaving(*document["search_leaving"]),
        has_moved_out=document["moved_out"],
        notified_encounter=document["notified"],
        sent_by_hand=tuple(SentByHand(*sent) for sent in document.get("by_hand", ())),
        revision=document["revision"],
    )


def _point(point: GeoPoint) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [point.lng, point.lat]}


def _fix(fix: Fix) -> dict[str, Any]:
    return {"at": fix.at_ms, "location": list(fix.location), "accuracy": fix.accuracy_m}


def _to_fix(document: StoredDocument) -> Fix:
    return Fix(document["at"], GeoPoint(*document["location"]), document["accuracy"])
