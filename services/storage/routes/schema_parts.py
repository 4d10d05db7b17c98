"""The parts that several operations of the OpenAPI description share: objects, errors and parameters."""

from typing import Any, Final

from services.storage.core.fields import (
    MAX_IMAGE_CHARACTERS,
    MAX_IMAGES,
    MAX_KEYWORDS,
    MAX_OWNER_CHARACTERS,
    MAX_TEXT_CHARACTERS,
    MAX_TIME_MS,
)
from services.storage.core.keys import MAX_KEYWORD_CHARACTERS
from services.storage.core.radii import MAX_RADIUS_M

Schema = dict[str, Any]

EXAMPLE: Final[dict[str, Any]] = {
    "_id": "65f1c0ffee5eed5eed5eed01",
    "owner": "0123456789abcdef",
    "text": "Fresh bread, every morning",
    "keywords": ["bread", "bakery"],
    "location": {"type": "Point", "coordinates": [13.4132, 52.5219]},
    "radiusMeters": 500,
    "place": {"en": {"route": "Alexanderplatz", "locality": "Berlin", "country": "Germany"}},
    "showLocation": True,
    "allowContacts": True,
    "isMobile": False,
    "isActive": True,
    "trusted": False,
    "images": ["/assets/images/17"],
    "extdata": {},
    "validfrom": 1_764_000_000_000,
    "validuntil": 4_102_444_800_000,
    "created": 1_764_000_000_000,
    "modified": 1_764_000_000_000,
    "version": 1,
}
SENT: Final = {
    name: EXAMPLE[name] for name in ("owner", "text", "keywords", "location", "radiusMeters", "showLocation")
}
RANKED: Final = {**EXAMPLE, "rank": 1, "isKeyword": [0]}
OK: Final = {"status": "ok"}
CHANNEL: Final = {
    "searchid": "65f1c0ffee5eed5eed5eed02",
    "offerid": "65f1c0ffee5eed5eed5eed01",
    "url": "sendbird_group_channel_1",
}

_TIME: Final[Schema] = {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_TIME_MS}
_FLAG: Final[Schema] = {"type": "boolean"}
_SENT_PROPERTIES: Final[dict[str, Schema]] = {
    "owner": {"type": "string", "minLength": 1, "maxLength": MAX_OWNER_CHARACTERS},
    "text": {"type": "string", "maxLength": MAX_TEXT_CHARACTERS},
    "keywords": {
        "type": "array",
        "maxItems": MAX_KEYWORDS,
        "items": {"type": "string", "maxLength": MAX_KEYWORD_CHARACTERS},
    },
    "location": {
        "type": "object",
        "required": ["type", "coordinates"],
        "properties": {
            "type": {"const": "Point"},
            "coordinates": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}},
        },
    },
    "radiusMeters": {"type": "number", "minimum": 0, "maximum": MAX_RADIUS_M},
    "place": {"type": "object"},
    "showLocation": _FLAG,
    "allowContacts": _FLAG,
    "isMobile": _FLAG,
    "isActive": _FLAG,
    "trusted": _FLAG,
    "images": {
        "type": "array",
        "maxItems": MAX_IMAGES,
        "items": {"type": ["string", "null"], "maxLength": MAX_IMAGE_CHARACTERS},
    },
    "extdata": {"type": "object"},
    "validfrom": _TIME,
    "validuntil": _TIME,
}
OBJECT_ID: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{24}$"}
NEW_OBJECT: Final[Schema] = {
    "type": "object",
    "required": ["owner", "keywords", "location"],
    "properties": _SENT_PROPERTIES,
}
CHANGED_OBJECT: Final[Schema] = {"type": "object", "properties": _SENT_PROPERTIES}
OBJECT: Final[Schema] = {
    "type": "object",
    "required": list(EXAMPLE),
    "properties": {
        **_SENT_PROPERTIES,
        "_id": OBJECT_ID,
        "created": {"type": "integer"},
        "modified": {"type": "integer"},
        "version": {"type": "integer", "minimum": 1},
    },
}
RANKED_OBJECT: Final[Schema] = {
    "type": "object",
    "required": list(RANKED),
    "properties": {
        **OBJECT["properties"],
        "rank": {"type": "integer", "minimum": 0},
        "isKeyword": {"type": "array", "items": {"type": "integer", "minimum": 0}},
    },
}
_ERROR: Final[Schema] = {
    "type": "object",
    "required": ["version", "error", "detail"],
    "properties": {
        "version": {"const": "1.0"},
        "error": {"type": "string"},
        "detail": {"type": "string"},
        "fields": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_FAILURES: Final[dict[int, tuple[str, str, str]]] = {
    400: ("The body is malformed.", "malformed", "the body is not a JSON object: Input data was truncated"),
    401: ("The credentials are missing or wrong.", "password", "the user name or the password is wrong"),
    403: ("The caller may not do this.", "forbidden", "bulk changes need the credentials of a service"),
    404: ("There is no such object.", "not_found", "there is no such offer"),
    408: ("The body does not arrive.", "timeout", "no part of the body arrived within 60 s"),
    409: ("The token was issued already.", "issued", "the token of this device was issued already"),
    412: ("Another version is stored.", "changed", "If-Match does not name version 2 of the object: read it again"),
    413: ("The body is too large.", "too_large", "the body has more than 1048576 bytes"),
    429: ("Too many wrong passwords.", "delayed", "too many wrong passwords came from 192.0.2.1; try again in 4 s"),
    503: ("The database does not respond.", "unavailable", "the database does not respond; try again"),
}
_NOT_MODIFIED: Final = 304
_ALWAYS: Final = (401, 403, 429, 503)
_WITH_BODY: Final = (400, 408, 413)


def responses(status: int, schema: Schema, example: Any, *, errors: tuple[int, ...], has_body: bool) -> dict[str, Any]:
    """Return the responses of an operation: the successful one, and the failures."""
    invalid = {"version": "1.0", "error": "invalid", "detail": "radiusMeters: must be a number"}
    invalid_fields = invalid | {"fields": [{"field": "radiusMeters", "detail": "must be a number"}]}
    found = {str(status): _response("Done.", schema, example)}
    found["422"] = _response("A field or parameter is wrong; the response names it.", _ERROR, invalid_fields)
    if _NOT_MODIFIED in errors:
        found[str(_NOT_MODIFIED)] = {"description": "The object has the entity tag."}  # it has no body
    for each in (*_ALWAYS, *(_WITH_BODY if has_body else ()), *(error for error in errors if error != _NOT_MODIFIED)):
        description, code, detail = _FAILURES[each]
        found[str(each)] = _response(description, _ERROR, {"version": "1.0", "error": code, "detail": detail})
    return dict(sorted(found.items()))


def _response(description: str, schema: Schema, example: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}
