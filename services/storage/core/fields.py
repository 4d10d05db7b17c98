"""The fields that clients send, under the names of the old system, and their limits.

A document from a client is a JSON object. Names that a client cannot set are ignored, because clients of the old system
send a whole document back. A value of a wrong type is an error that names its field. So no value can be an operator.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from services.storage.core.extras import InvalidValue, check_text, store_extras
from services.storage.core.keys import MAX_KEYWORD_CHARACTERS, InvalidKeywords, normalise_keywords
from services.storage.core.objects import ObjectFields
from services.storage.core.radii import InvalidRadius, parse_radius
from services.storage.core.sphere import GeoPoint, InvalidLocation, parse_point

MAX_OWNER_CHARACTERS: Final = 256
MAX_TEXT_CHARACTERS: Final = 10_000
MAX_KEYWORDS: Final = 64
"""The most keywords as sent. After normalisation at most 32 may be left."""
MAX_IMAGES: Final = 64
MAX_IMAGE_CHARACTERS: Final = 2048
MAX_IMAGES_BYTES: Final = 16_384
"""The most bytes of `images` as JSON, for the reason of MAX_EXTRAS_BYTES."""
MAX_EXTRAS_BYTES: Final = 65_536
"""The most bytes of `place` and of `extdata` as JSON. A list has up to 200 objects, in memory."""
MAX_TIME_MS: Final = 253_402_300_799_999
"""The end of the year 9999."""


class FieldError(NamedTuple):
    """What is wrong with a field or a parameter."""

    field: str
    detail: str


class InvalidInput(ValueError):
    """Fields or parameters are wrong."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors))
        self.errors = errors


def parse_fields(
    document: Mapping[str, Any], stored: ObjectFields | None = None, *, may_set_trusted: bool
) -> ObjectFields:
    """Return the fields of a new object, or those of `stored` with the sent fields replaced.

    Raises InvalidInput with all errors. A new object needs `owner`, `keywords` and `location`. A field that is null
    gets its default. Without `may_set_trusted` the field `trusted` is ignored.
    """
    sent: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, (attribute, parse) in _PARSERS.items():
        if name not in document or (name == "trusted" and not may_set_trusted):
            continue
        value = document[name]
        if value is None and name not in _REQUIRED:
            sent[attribute] = _DEFAULTS[attribute]
            continue
        try:
            sent[attribute] = parse(value)
        except (InvalidValue, InvalidKeywords, InvalidLocation, InvalidRadius) as error:
            errors.append(FieldError(name, str(error)))
    if stored is None:
        errors += [FieldError(name, "is required") for name in _REQUIRED if name not in document]
    if errors:
        raise InvalidInput(*errors)
    fields = ObjectFields(**sent) if stored is None else msgspec.structs.replace(stored, **sent)
    if {"valid_from_ms", "valid_until_ms"} & sent.keys():
        _check_validity(fields)
    return fields


def _check_validity(fields: ObjectFields) -> None:
    begin_ms, end_ms = fields.valid_from_ms, fields.valid_until_ms
    if end_ms is not None and begin_ms is not None and end_ms < begin_ms:
        raise InvalidInput(FieldError("validuntil", f"{end_ms} is before validfrom, {begin_ms}"))


def parse_text(value: object, *, most: int, empty: bool = True) -> str:
    """Return a text. Raises InvalidValue."""
    if not isinstance(value, str):
        raise InvalidValue("must be a string")
    if len(value) > most:
        raise InvalidValue(f"has {len(value)} characters; at most {most} are allowed")
    if not value and not empty:
        raise InvalidValue("must not be empty")
    return check_text(value)


def parse_number(value: object) -> float:
    """Return a finite number, also from its decimal form in a string. Raises InvalidValue."""
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidValue("must be a number")
    return number


def parse_time_ms(value: object) -> int:
    """Return a time in ms since 1970. Raises InvalidValue."""
    number = parse_number(value)
    if not 0.0 <= number <= MAX_TIME_MS:
        raise InvalidValue(f"must be a time in ms since 1970, from 0 to {MAX_TIME_MS}")
    return int(number)


def _text(most: int, *, empty: bool = True) -> Callable[[object], str]:
    return lambda value: parse_text(value, most=most, empty=empty)


def _keywords(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidValue("must be a list of strings")
    if len(value) > MAX_KEYWORDS:
        raise InvalidValue(f"has {len(value)} entries; at most {MAX_KEYWORDS} are allowed")
    # One empty element is how the Rails clients send an empty list.
    keywords = tuple(parse_text(each, most=MAX_KEYWORD_CHARACTERS) for each in value if each != "")
    normalise_keywords(keywords)
    return keywords


def _location(value: object) -> GeoPoint:
    match value:
        case {"coordinates": [longitude, latitude], **rest} if rest.get("type", "Point") == "Point":
            return parse_point(parse_number(longitude), parse_number(latitude))
    raise InvalidValue('must be {"type": "Point", "coordinates": [longitude, latitude]}')


def _radius(value: object) -> float:
    return parse_radius(parse_number(value))


def _flag(value: object) -> bool:
    if value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise InvalidValue("must be true or false")
    return value


def _images(value: object) -> tuple[str | None, ...]:
    if not isinstance(value, list) or len(value) > MAX_IMAGES:
        raise InvalidValue(f"must be a list of at most {MAX_IMAGES} paths")
    images = tuple([None if each is None else parse_text(each, most=MAX_IMAGE_CHARACTERS) for each in value])
    _check_size(images, MAX_IMAGES_BYTES)
    return images


def _extras(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidValue("must be a JSON object")
    stored = store_extras(value)
    _check_size(stored, MAX_EXTRAS_BYTES)
    return stored


def _check_size(value: object, most: int) -> None:
    if (size := len(msgspec.json.encode(value))) > most:
        raise InvalidValue(f"has {size} bytes as JSON; at most {most} are allowed")


_REQUIRED: Final = ("owner", "keywords", "location")
_PARSERS: Final[Mapping[str, tuple[str, Callable[[object], Any]]]] = {
    "owner": ("owner", _text(MAX_OWNER_CHARACTERS, empty=False)),
    "text": ("text", _text(MAX_TEXT_CHARACTERS)),
    "keywords": ("keywords", _keywords),
    "location": ("location", _location),
    "radiusMeters": ("radius_m", _radius),
    "validfrom": ("valid_from_ms", parse_time_ms),
    "validuntil": ("valid_until_ms", parse_time_ms),
    "isActive": ("is_active", _flag),
    "isMobile": ("is_mobile", _flag),
    "showLocation": ("show_location", _flag),
    "allowContacts": ("allow_contacts", _flag),
    "trusted": ("trusted", _flag),
    "place": ("place", _extras),
    "images": ("images", _images),
    "extdata": ("extdata", _extras),
}
_EMPTY: Final = ObjectFields(owner="-", location=GeoPoint(0.0, 0.0))
_DEFAULTS: Final[Mapping[str, Any]] = {name: getattr(_EMPTY, name) for name in ObjectFields.__struct_fields__}
