"""The form of objects in responses: the names of the old system, and no field that reveals a hidden location."""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from services.storage.core.extras import read_extras
from services.storage.core.keys import normalise
from services.storage.core.objects import StoredObject

API_VERSION: Final = "1.0"


def encode_response(content: Any) -> bytes:
    """Return JSON. A stored value of a type that JSON does not have, such as ObjectId, is a string.

    A person can enter such a value in the shell of MongoDB. It must not hide the other objects of a list.
    """
    return msgspec.json.encode(content, enc_hook=str)


def visible_object(stored: StoredObject, *, is_own: bool) -> dict[str, Any]:
    """Return the object for a client.

    `is_own`: the client acts for the owner, and gets the true location. Others get the public location and no place if
    the owner hides it: the place is the address of the true location.
    """
    fields = stored.fields
    shows = is_own or fields.show_location
    location = fields.location if shows else stored.public_location
    return {
        "_id": stored.id,
        "owner": fields.owner,
        "text": fields.text,
        "keywords": list(fields.keywords),
        "location": {"type": "Point", "coordinates": [location.lng, location.lat]},
        "radiusMeters": fields.radius_m,
        "place": read_extras(fields.place) if shows else {},
        "showLocation": fields.show_location,
        "allowContacts": fields.allow_contacts,
        "isMobile": fields.is_mobile,
        "isActive": fields.is_active,
        "trusted": fields.trusted,
        "images": list(fields.images),
        "extdata": read_extras(fields.extdata),
        "validfrom": fields.valid_from_ms,
        "validuntil": fields.valid_until_ms,
        "created": stored.created_ms,
        "modified": stored.modified_ms,
        "version": stored.version,
    }


def ranked_object(stored: StoredObject, asked: Collection[str], *, is_own: bool) -> dict[str, Any]:
    """Return the object with `isKeyword`, the indices of the keywords that equal one of the asked keys, and `rank`.

    `rank` is the number of indices. Of equal keywords the first one counts.
    """
    first: dict[str, int] = {}
    for index, keyword in enumerate(stored.fields.keywords):
        first.setdefault(normalise(keyword), index)
    indices = sorted(index for key, index in first.items() if key in asked)
    return visible_object(stored, is_own=is_own) | {"rank": len(indices), "isKeyword": indices}
