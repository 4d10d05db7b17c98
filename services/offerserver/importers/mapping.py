"""FieldMapping: which fields of a row become an offer. A part of the YAML file of a source."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from services.offerserver.core.drafts import MOST_KEYWORD_CHARS, Draft
from services.offerserver.core.fingerprints import CONTENT_HASH, MATCH_HASH, SOURCE_ID, id_of_parts
from services.offerserver.core.values import InvalidRow, at_path, hashtag, id_text, number, plain_text, time_ms
from services.offerserver.importers.rows import FeedRow

RESERVED: Final = frozenset({SOURCE_ID, MATCH_HASH, CONTENT_HASH, "licence", "attribution"})
"""The names in `extdata` that the framework sets."""
_MOST_KEYWORDS: Final = 10
_SEPARATOR: Final = re.compile(r"[,;|/]")

AddressPart = Literal["route", "street_number", "postal_code", "locality", "administrative_area_level_1", "country"]
"""The names of the old system."""


def listed(value: object) -> object:
    """Return a single value of a YAML file as a list of one."""
    return (str(value),) if isinstance(value, str | int | float) else value


def _no_reserved_name(names: Mapping[str, str]) -> Mapping[str, str]:
    if reserved := sorted(RESERVED & set(names)):
        raise ValueError(f"{', '.join(reserved)}: the framework sets this; choose another name")
    return names


class FieldMapping(BaseModel):
    """The path of each field in a row: names with points between them, such as `properties.name`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: Annotated[tuple[str, ...], BeforeValidator(listed), Field(min_length=1)] = ("id",)
    """The id of the source. Several fields: a hash of their values, for sources without an id."""
    text: str
    """The title."""
    latitude: str = "latitude"
    longitude: str = "longitude"
    location_name: str | None = None
    """The name of a place, which is looked up in `places` of the source for a row without coordinates."""
    keywords: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """Fields with words, or lists of words, which become hashtags. Commas, semicolons, | and / separate words."""
    address: Mapping[AddressPart, str] = {}
    extdata: Annotated[Mapping[str, str], AfterValidator(_no_reserved_name)] = {}
    """Name in `extdata` -> path. Chat replies use these names."""
    images: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """Fields with the URL of an image, or a list of them."""
    valid_from: str | None = None
    valid_until: str | None = None
    """Fields with a time of ISO 8601."""


class RowMapper:
    """Makes drafts of rows."""

    def __init__(
        self,
        fields: FieldMapping,
        *,
        zone: ZoneInfo,
        places: Mapping[str, tuple[float, float]],
        decimal_comma: bool,
        has_ms_times: bool = False,
    ) -> None:
        """`has_ms_times`: integers of rows are times in ms since 1970, as in those of calendars."""
        self._fields = fields
        self._zone = zone
        self._places = {" ".join(name.casefold().split()): point for name, point in places.items()}
        self._decimal_comma = decimal_comma
        self._has_ms_times = has_ms_times

    def row_id(self, row: FeedRow) -> str:
        """Return the id of a row, as far as it has one."""
        try:
            return self._id(row)
        except InvalidRow:
            return ""

    def draft(self, row: FeedRow) -> Draft:
        """Return the draft of a row. Raises InvalidRow."""
        fields = self._fields
        latitude, longitude = self._point(row)
        address = {name: plain_text(at_path(row, path), path) for name, path in fields.address.items()}
        extdata = {name: _extra(at_path(row, path), path) for name, path in fields.extdata.items()}
        known_address = {str(name): value for name, value in address.items() if value}
        return Draft(
            id=self._id(row),
            text=plain_text(at_path(row, fields.text), fields.text),
            latitude=latitude,
            longitude=longitude,
            keywords=self._keywords(row),
            valid_from_ms=self._time(row, fields.valid_from),
            valid_until_ms=self._time(row, fields.valid_until, is_end=True),
            place={"en": known_address} if known_address else {},
            extdata={name: value for name, value in extdata.items() if value != ""},
            image_urls=tuple(url for path in fields.images for url in _texts(at_path(row, path), path)),
        )

    def _id(self, row: FeedRow) -> str:
        values = [id_text(at_path(row, path), path) for path in self._fields.id]
        if not all(values):
            missing = self._fields.id[values.index("")]
            raise InvalidRow(missing, "", "is missing, and identifies the row")
        return values[0] if len(values) == 1 else id_of_parts(*values)

    def _point(self, row: FeedRow) -> tuple[float, float]:
        fields = self._fields
        latitude, longitude = at_path(row, fields.latitude), at_path(row, fields.longitude)
        if latitude in (None, "") and fields.location_name is not None:
            name = plain_text(at_path(row, fields.location_name), fields.location_name)
            point = self._places.get(name.casefold())
            if point is None:
                raise InvalidRow(fields.location_name, name, "is not in the table of places")
            return point
        return (
            number(latitude, fields.latitude, decimal_comma=self._decimal_comma),
            number(longitude, fields.longitude, decimal_comma=self._decimal_comma),
        )

    def _keywords(self, row: FeedRow) -> tuple[str, ...]:
        words = (
            hashtag(word)
            for path in self._fields.keywords
            for text in _texts(at_path(row, path), path)
            for word in _SEPARATOR.split(text)
        )
        return tuple(dict.fromkeys(word for word in words if 0 < len(word) <= MOST_KEYWORD_CHARS))[:_MOST_KEYWORDS]

    def _time(self, row: FeedRow, path: str | None, *, is_end: bool = False) -> int | None:
        value = None if path is None else at_path(row, path)
        if path is None or value in (None, ""):
            return None
        if self._has_ms_times and isinstance(value, int):
            return value
        return time_ms(value, path, zone=self._zone, is_end=is_end)


def _extra(value: Any, path: str) -> Any:
    """Return a value for chat replies: a number stays one, a list becomes a text."""
    if isinstance(value, int | float):
        return value
    return ", ".join(_texts(value, path))


def _texts(value: Any, path: str) -> list[str]:
    """Return the texts of a value or of a list. Objects with an `url`, `name` or `@id` count as that."""
    found = []
    for each in value if isinstance(value, list) else [value]:
        named = next((each[name] for name in ("url", "name", "@id") if name in each), "") if _is_map(each) else each
        if text := plain_text(named, path):
            found.append(text)
    return found


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)
