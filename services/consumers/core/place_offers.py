"""The offers of places: which of the places that GeoNames returns, and what storage has to create, change and remove.

Pure: no I/O, no clock.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from services.consumers.core.places import MOST_RADIUS_KM, PLACES_OWNER, EarthPoint, SearchPlaces, distance_km

_MOST_PLACES: Final = 51
"""As in the old system, which took 51 at random."""
_RADIUS_M: Final = 225
_VALID_MS: Final = 7 * 86_400_000
_EVERYTHING: Final = "#all"
_MARGIN_DEGREES: Final = 0.001
"""About 100 m: GeoNames can move a place a little between two searches."""
_WHOLE_CIRCLE: Final = 360.0


class NamedPlace(NamedTuple):
    """A place of GeoNames."""

    geoid: str
    name: str
    point: EarthPoint
    link: str = ""


class OldPlaceOffer(NamedTuple):
    """An offer that storage has already."""

    id: str
    geoid: str
    valid_until_ms: int | None


class GeoJsonPoint(msgspec.Struct, frozen=True):
    """A location in the form of storage."""

    coordinates: tuple[float, float]
    """Longitude and latitude."""
    type: Literal["Point"] = "Point"


class PlaceOffer(msgspec.Struct, frozen=True, omit_defaults=True):
    """An offer in the form of storage's API."""

    text: str
    keywords: tuple[str, ...]
    location: GeoJsonPoint
    validuntil: int
    extdata: dict[str, str]
    owner: str
    radiusMeters: int  # noqa: N815 - the name of the API
    showLocation: bool  # noqa: N815
    allowContacts: bool  # noqa: N815
    isActive: bool  # noqa: N815
    validfrom: int
    id: str = msgspec.field(name="_id", default="")
    """Empty for a new offer."""


class PlacesPlan(NamedTuple):
    """What storage has to do."""

    new: list[PlaceOffer]
    changed: list[PlaceOffer]
    removed: list[str]


class PlacesBox(NamedTuple):
    """The box that contains some places, in degrees. `west` > `east`: it crosses the antimeridian."""

    south: float
    west: float
    north: float
    east: float


def place_id(geoname_id: object, url: str) -> str:
    """Return the id of a place: that of GeoNames, or the SHA-256 of the URL of its article if it has none."""
    text = str(geoname_id) if isinstance(geoname_id, int | str) and not isinstance(geoname_id, bool) else ""
    return text if text not in ("", "0") else hashlib.sha256(url.encode()).hexdigest()


def nearest(places: Iterable[NamedPlace], middle: EarthPoint) -> list[NamedPlace]:
    """Return the places that are nearest to the middle of the search, each once: at most 51, within 20 km.

    The order of `places` is ignored. Decision: not 51 at random, as in the old system. The same search then has the
    same result. The limit of 20 km bounds the box whose offers are read: anybody can search the whole earth.
    """
    by_id = {place.geoid: place for place in sorted(places, reverse=True)}
    near = sorted((distance_km(middle, place.point), place.geoid) for place in by_id.values())
    return [by_id[geoid] for far_km, geoid in near if far_km <= MOST_RADIUS_KM][:_MOST_PLACES]


def box_around(places: Sequence[NamedPlace], middle: EarthPoint) -> PlacesBox:
    """Return the box around places, with a margin. `places` must not be empty; `middle` is that of their search."""
    latitudes = [place.point.latitude for place in places]
    # East of the middle, from -180 to 180 degrees: so a box at the antimeridian is not the whole earth.
    offsets = [_wrapped(place.point.longitude - middle.longitude) for place in places]
    west, east = min(offsets) - _MARGIN_DEGREES, max(offsets) + _MARGIN_DEGREES
    south, north = min(latitudes) - _MARGIN_DEGREES, max(latitudes) + _MARGIN_DEGREES
    if east - west >= _WHOLE_CIRCLE:
        west, east = -180.0 - middle.longitude, math.nextafter(180.0, 0.0) - middle.longitude
    return PlacesBox(
        max(-90.0, south), _wrapped(middle.longitude + west), min(90.0, north), _wrapped(middle.longitude + east)
    )


def plan_offers(
    search: SearchPlaces, places: Sequence[NamedPlace], old: Iterable[OldPlaceOffer], *, now_ms: int
) -> PlacesPlan:
    """Return what storage has to do so that each place has one offer, valid for seven days.

    An old offer of a place is changed, and its duplicates are removed, as are offers of other places whose validity
    has ended. The same plan twice has the effect of one.
    """
    kept: dict[str, OldPlaceOffer] = {}
    removed: list[str] = []
    wanted = {place.geoid for place in places}
    for offer in sorted(old):
        if offer.geoid in wanted and offer.geoid not in kept:
            kept[offer.geoid] = offer
        elif offer.geoid in kept or (offer.valid_until_ms is not None and offer.valid_until_ms < now_ms):
            removed.append(offer.id)
    offers = [_offer(search, place, kept.get(place.geoid), now_ms) for place in places]
    return PlacesPlan([each for each in offers if not each.id], [each for each in offers if each.id], removed)


def geoid_of(extdata: Mapping[str, Any]) -> str:
    """Return the id of the place of an offer. The old system stored it as a number."""
    value = extdata.get("geoid")
    return str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""


def _offer(search: SearchPlaces, place: NamedPlace, old: OldPlaceOffer | None, now_ms: int) -> PlaceOffer:
    link = {"link": place.link} if place.link else {}
    return PlaceOffer(
        id="" if old is None else old.id,
        # A phone can create an offer of this owner that is inactive or not valid yet, and it may be the old one.
        isActive=True,
        validfrom=now_ms,
        owner=PLACES_OWNER,
        text=place.name,
        keywords=tuple(dict.fromkeys((*search.tags, _EVERYTHING))),
        location=GeoJsonPoint((place.point.longitude, place.point.latitude)),
        radiusMeters=_RADIUS_M,
        validuntil=now_ms + _VALID_MS,
        showLocation=True,
        allowContacts=True,
        extdata={"geoid": place.geoid, **link},
    )


def _wrapped(degrees: float) -> float:
    return (degrees + 540.0) % 360.0 - 180.0
