"""Which searches make geonames look up places, and where: in a box, or in a circle. Pure: no I/O, no clock."""

import math
import re
from typing import Final, Literal, NamedTuple

import msgspec

from services.backbone.events import EncodedEvent, InvalidEvent, parameter, parameters
from services.consumers.core.actions import (
    MOST_LATITUDE,
    MOST_LONGITUDE,
    ActionRule,
    checked_number,
    checked_text,
    text_of,
)

PLACES_OWNER: Final = "GeonamesOrg"
"""The owner of the offers of places."""

_POI: Final = "#poi"
_WIKIPEDIA: Final = "#wikipedia"
_HOTEL: Final = "#hotel"
_MOST_WORDS: Final = 16
_MOST_WORDS_CHARS: Final = 100
"""Of all words without a `#`: they are in the URL of a request, which has at most 2,048 characters."""
_MOST_WORD_CHARS: Final = 64
"""The limit of storage for a keyword."""
_MOST_CORNER_CHARS: Final = 200
_IS_KEYWORDS: Final = re.compile(r"kw(\[\d{0,4}\])?").fullmatch
_SEPARATORS: Final = re.compile(r"[\s,]+")
MOST_RADIUS_KM: Final = 20
"""The limit of a free account at GeoNames for articles. Places that are further from the middle are ignored."""
_EARTH_RADIUS_KM: Final = 6_378.1
"""That of storage."""


class EarthPoint(NamedTuple):
    """A location in degrees."""

    latitude: float
    longitude: float


class SearchPlaces(msgspec.Struct, frozen=True):
    """Look up the places of a search, and create an offer for each."""

    kind: Literal["poi", "wikipedia"]
    south_west: EarthPoint
    north_east: EarthPoint
    """Its longitude is less than that of the south-west if the box crosses the antimeridian."""
    words: tuple[str, ...]
    """The words without a `#`."""
    tags: tuple[str, ...]
    """The words with a `#`, in lower case."""

    @property
    def only_hotels(self) -> bool:
        """Whether the search is for hotels."""
        return _HOTEL in self.tags

    @property
    def middle(self) -> EarthPoint:
        """The middle of the box."""
        (south, west), (north, east) = self.south_west, self.north_east
        width = (east - west) % 360.0
        return EarthPoint((south + north) / 2.0, (west + width / 2.0 + 540.0) % 360.0 - 180.0)

    @property
    def radius_km(self) -> int:
        """Half the diagonal of the box, as a whole number from 1 to 20."""
        half_km = distance_km(self.south_west, self.north_east) / 2.0
        return max(1, min(math.ceil(half_km), MOST_RADIUS_KM))


def search_places(event: EncodedEvent) -> SearchPlaces | None:
    """Read an `offr` event. Only searches with a box and `#poi` or `#wikipedia` need an action; `#poi` wins."""
    params = text_of(event)
    if parameter(params, "action") != "search":
        return None
    values = (value for name, value in parameters(params) if _IS_KEYWORDS(name))
    asked = list(dict.fromkeys(word for value in values for word in _SEPARATORS.split(value) if word))
    tags = tuple(dict.fromkeys(word.lower() for word in asked if word.startswith("#") and len(word) > 1))
    if _POI not in tags and _WIKIPEDIA not in tags:
        return None
    south_west, north_east = _corner(params, "sw"), _corner(params, "ne")
    if south_west is None and north_east is None:
        return None  # a search in a circle
    if south_west is None or north_east is None:
        raise InvalidEvent(f"{'sw' if south_west is None else 'ne'}: is missing")
    if south_west.latitude > north_east.latitude:
        raise InvalidEvent("sw: must not be north of ne")
    if len(asked) > _MOST_WORDS:
        raise InvalidEvent(f"kw: must have at most {_MOST_WORDS} words, has {len(asked)}")
    words = tuple(word for word in asked if not word.startswith("#"))
    checked_text(" ".join(words), "kw", least=0, most=_MOST_WORDS_CHARS)
    for tag in tags:
        checked_text(tag, "kw", most=_MOST_WORD_CHARS)
    return SearchPlaces("poi" if _POI in tags else "wikipedia", south_west, north_east, words, tags)


def distance_km(first: EarthPoint, second: EarthPoint) -> float:
    """Return the great-circle distance (haversine)."""
    latitude_1, latitude_2 = math.radians(first.latitude), math.radians(second.latitude)
    half_latitude = math.sin((latitude_2 - latitude_1) / 2.0)
    half_longitude = math.sin(math.radians(second.longitude - first.longitude) / 2.0)
    root = math.sqrt(half_latitude**2 + math.cos(latitude_1) * math.cos(latitude_2) * half_longitude**2)
    return 2.0 * _EARTH_RADIUS_KM * math.asin(min(1.0, root))


def _corner(params: str, name: str) -> EarthPoint | None:
    """Read a corner: `sw[latitude]=52.5`, or `sw=` with the text of a Ruby hash, as the old website sends it."""
    latitude, longitude = (parameter(params, f"{name}[{part}]") for part in ("latitude", "longitude"))
    if latitude is None and longitude is None:
        text = parameter(params, name)
        if not text:
            return None
        checked_text(text, name, most=_MOST_CORNER_CHARS)
        latitude, longitude = _of_ruby(text, "latitude"), _of_ruby(text, "longitude")
    return EarthPoint(
        checked_number(latitude or "", f"{name}[latitude]", MOST_LATITUDE),
        checked_number(longitude or "", f"{name}[longitude]", MOST_LONGITUDE),
    )


def _of_ruby(text: str, name: str) -> str:
    """Return the value of `"latitude"=>"-52.5"` in the text of a Ruby hash, empty without it."""
    found = re.search(rf'"{name}"\s*=>\s*"?([^",}}\s]+)', text)
    return found[1] if found else ""


# Credits are counted by the hour, so a wait of an hour is usual.
GEONAMES: Final = ActionRule("geonames", frozenset({b"offr"}), search_places, provider_wait_s=4500.0)
