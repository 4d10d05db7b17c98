"""Points and distances on a sphere with the radius of MongoDB's earth."""

import math
from typing import Final, NamedTuple

EARTH_RADIUS_M: Final = 6_378_100.0
"""The radius that MongoDB uses for `$centerSphere` and `$geoNear`."""


class GeoPoint(NamedTuple):
    """A location in degrees, in the order of GeoJSON."""

    lng: float
    lat: float


class InvalidLocation(ValueError):
    """The coordinates are not finite, or out of range."""


def parse_point(lng: float, lat: float) -> GeoPoint:
    """Return the point. Raises InvalidLocation unless -180 <= lng <= 180 and -90 <= lat <= 90."""
    if not -180.0 <= lng <= 180.0:  # noqa: PLR2004 - also false for NaN
        raise InvalidLocation(f"longitude {lng} is not between -180 and 180")
    if not -90.0 <= lat <= 90.0:  # noqa: PLR2004 - as above
        raise InvalidLocation(f"latitude {lat} is not between -90 and 90")
    return GeoPoint(float(lng), float(lat))


def distance_m(first: GeoPoint, second: GeoPoint) -> float:
    """Return the great-circle distance in metres (haversine). Both orders of the points give the same float."""
    if second < first:
        first, second = second, first
    lat1, lat2 = math.radians(first.lat), math.radians(second.lat)
    half_lat = math.sin((lat2 - lat1) / 2.0)
    half_lng = math.sin(math.radians(second.lng - first.lng) / 2.0)
    root = math.sqrt(half_lat * half_lat + math.cos(lat1) * math.cos(lat2) * half_lng * half_lng)
    return 2.0 * EARTH_RADIUS_M * math.asin(min(1.0, root))  # rounding can exceed 1 for opposite points


def destination(start: GeoPoint, *, bearing_rad: float, distance_m: float) -> GeoPoint:
    """Return the point at a distance in a direction (clockwise from north)."""
    angle = distance_m / EARTH_RADIUS_M
    lat1 = math.radians(start.lat)
    sin_lat2 = math.sin(lat1) * math.cos(angle) + math.cos(lat1) * math.sin(angle) * math.cos(bearing_rad)
    sin_lat2 = max(-1.0, min(1.0, sin_lat2))
    east = math.sin(bearing_rad) * math.sin(angle) * math.cos(lat1)
    lng = start.lng + math.degrees(math.atan2(east, math.cos(angle) - math.sin(lat1) * sin_lat2))
    return GeoPoint((lng + 540.0) % 360.0 - 180.0, math.degrees(math.asin(sin_lat2)))
