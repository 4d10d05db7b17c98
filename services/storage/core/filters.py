"""The filter of a list: the parameters of the old system, parsed to values that are checked to be of their type."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from services.storage.core.cursors import Cursor, parse_cursor
from services.storage.core.extras import InvalidValue
from services.storage.core.fields import MAX_OWNER_CHARACTERS, FieldError, InvalidInput, parse_number, parse_text
from services.storage.core.keys import InvalidKeywords, normalise_keywords, words_of
from services.storage.core.sphere import GeoPoint, InvalidLocation, parse_point

MAX_LIST: Final = 200
"""The most objects of one response."""
MAX_PAGE: Final = 10_000
MAX_LIST_RADIUS_M: Final = 20_037_508.0
"""Half of the circumference of the earth."""
MAX_NAMES: Final = 8
_ID: Final = re.compile(r"[0-9a-f]{24}")
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
Parameters = Mapping[str, Sequence[str]]
"""The values of each query parameter, in their order."""

BulkEvent = Literal["now", "later", "none"]
"""Whether the event of a bulk write is sent when the request ends, with that of a later request, or not at all."""


class Circle(NamedTuple):
    """All points within a distance."""

    centre: GeoPoint
    radius_m: float


class GeoBox(NamedTuple):
    """All points between two corners. `south_west.lng` > `north_east.lng`: the box crosses the antimeridian."""

    south_west: GeoPoint
    north_east: GeoPoint


class ListFilter(NamedTuple):
    """The objects of a list."""

    owner: str | None = None
    not_owner: str | None = None
    object_id: str | None = None
    region: Circle | GeoBox | None = None
    keys: tuple[str, ...] = ()
    """The asked keywords, normalised. Empty: no filter."""
    words: tuple[str, ...] = ()
    """The words of the asked keywords: they also find words of the text."""
    is_active: bool | None = None
    trusted: bool | None = None
    is_mobile: bool | None = None
    only_valid: bool = True
    """Whether objects outside of their validity are left out."""


class Page(NamedTuple):
    """A part of a list: `limit` objects after the cursor, or of the page with this number."""

    limit: int = MAX_LIST
    number: int = 0
    cursor: Cursor | None = None


def parse_filter(parameters: Parameters) -> ListFilter:
    """Return the filter. Raises InvalidInput with the parameter.

    `not_owner` wins over `owner`, and a circle over a box, as in the old system.
    """
    not_owner = _text(parameters, "not_owner")
    asked = [value for name in ("keywords[]", "keywords") for value in parameters.get(name, ()) if value]
    asked += [value for name, values in parameters.items() if _is_indexed(name) for value in values if value]
    keys, words = _keywords(asked)
    return ListFilter(
        owner=None if not_owner is not None else _text(parameters, "owner"),
        not_owner=not_owner,
        object_id=parse_id(_last(parameters, "_id"), "_id") if "_id" in parameters else None,
        region=_region(parameters),
        keys=keys,
        words=words,
        is_active=_flag(parameters, "is_active"),
        trusted=_flag(parameters, "trusted"),
    )


def parse_box(parameters: Parameters) -> GeoBox | None:
    """Return the box of `sw` and `ne`, or None without one. Raises InvalidInput."""
    south_west, north_east = _point(parameters, "sw"), _point(parameters, "ne")
    if south_west is None and north_east is None:
        return None
    if south_west is None or north_east is None:
        raise InvalidInput(FieldError("ne" if north_east is None else "sw", "is required: a box has sw and ne"))
    if south_west.lat > north_east.lat:
        raise InvalidInput(FieldError("sw[latitude]", "is greater than ne[latitude]"))
    return GeoBox(south_west, north_east)


def parse_page(parameters: Parameters) -> Page:
    """Return the page of `limit`, `page` and `next`. Raises InvalidInput."""
    cursor = _last(parameters, "next")
    try:
        parsed = parse_cursor(cursor) if cursor else None
    except InvalidValue as error:
        raise InvalidInput(FieldError("next", str(error))) from None
    limit = _integer(parameters, "limit", MAX_LIST, least=1, most=MAX_LIST)
    number = _integer(parameters, "page", 0, least=0, most=MAX_PAGE)
    if parsed is not None and number:
        raise InvalidInput(FieldError("page", "cannot be combined with next"))
    return Page(limit, number, parsed)


def parse_names(parameters: Parameters) -> tuple[str, ...]:
    """Return the names in `extdata` of `names`, separated by commas. Raises InvalidInput."""
    names = tuple(name for name in _last(parameters, "names").split(",") if name)
    if not 1 <= len(names) <= MAX_NAMES or not all(map(_NAME.fullmatch, names)):
        raise InvalidInput(FieldError("names", f"must be 1 to {MAX_NAMES} names of letters, digits and _, with commas"))
    return names


def parse_bulk_event(parameters: Parameters) -> BulkEvent:
    """Return the value of `event`, `now` without one. Raises InvalidInput."""
    match _last(parameters, "event"):
        case "" | "now":
            return "now"
        case "later":
            return "later"
        case "none":
            return "none"
    raise InvalidInput(FieldError("event", "must be now, later or none"))


def parse_arrival(parameters: Parameters) -> int | None:
    """Return the value of `until`, the last ms since 1970 at which a request is accepted. Raises InvalidInput."""
    text = _last(parameters, "until")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,16}", text):
        raise InvalidInput(FieldError("until", "must be a time in ms since 1970"))
    return int(text)


def parse_id(text: str, field: str) -> str:
    """Return the id of an object. Raises InvalidInput unless it has 24 hexadecimal digits."""
    text = text.lower()
    if not _ID.fullmatch(text):
        raise InvalidInput(FieldError(field, "must be 24 hexadecimal digits"))
    return text


def is_id(text: str) -> bool:
    """Return whether the text is the id of an object."""
    return _ID.fullmatch(text.lower()) is not None


def _is_indexed(name: str) -> bool:
    return re.fullmatch(r"keywords\[[0-9]{1,4}\]", name) is not None


def _last(parameters: Parameters, name: str) -> str:
    values = parameters.get(name, ())
    return values[-1] if values else ""


def _text(parameters: Parameters, name: str) -> str | None:
    value = _last(parameters, name)
    if not value:
        return None
    try:
        return parse_text(value, most=MAX_OWNER_CHARACTERS)
    except InvalidValue as error:
        raise InvalidInput(FieldError(name, str(error))) from None


def _keywords(asked: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        keys = normalise_keywords(asked)
    except InvalidKeywords as error:
        raise InvalidInput(FieldError("keywords[]", str(error))) from None
    return keys, tuple(dict.fromkeys(word for key in keys for word in words_of(key)))


def _flag(parameters: Parameters, name: str) -> bool | None:
    # As in the old system, everything but "true" is false.
    return _last(parameters, name) == "true" if name in parameters else None


def _integer(parameters: Parameters, name: str, default: int, *, least: int, most: int) -> int:
    text = _last(parameters, name)
    if not text:
        return default
    if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= most:
        raise InvalidInput(FieldError(name, f"must be a number from {least} to {most}"))
    return int(text)


def _number(parameters: Parameters, name: str) -> float:
    try:
        return parse_number(_last(parameters, name))
    except InvalidValue as error:
        raise InvalidInput(FieldError(name, str(error))) from None


def _point(parameters: Parameters, name: str) -> GeoPoint | None:
    latitude, longitude = f"{name}[latitude]", f"{name}[longitude]"
    if not _last(parameters, latitude) and not _last(parameters, longitude):
        return None
    lng, lat = _number(parameters, longitude), _number(parameters, latitude)
    try:
        return parse_point(lng, lat)
    except InvalidLocation as error:
        field = longitude if not -180.0 <= lng <= 180.0 else latitude  # noqa: PLR2004 - as in parse_point
        raise InvalidInput(FieldError(field, str(error))) from None


def _region(parameters: Parameters) -> Circle | GeoBox | None:
    centre = _point(parameters, "center")
    if centre is None:
        return parse_box(parameters)
    radius_m = _number(parameters, "radius")
    if not 0.0 <= radius_m <= MAX_LIST_RADIUS_M:
        raise InvalidInput(FieldError("radius", f"must be from 0 to {MAX_LIST_RADIUS_M:.0f} m"))
    return Circle(centre, radius_m)
