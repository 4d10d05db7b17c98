"""GeoJSON (RFC 7946): the features of a collection, one after the other.

A point is taken as it is. Of other geometries, a point is chosen that is on a line, or inside a polygon: the middle of
its box can lie outside of an area like the letter U.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import InvalidRow, Rejection, rejection
from services.offerserver.importers.rows import FeedRow, JsonRows

_MOST_POINTS: Final = 100_000
_LEAST_RING: Final = 4


class LngLat(NamedTuple):
    """A position, in the order of GeoJSON."""

    longitude: float
    latitude: float


class GeoJsonRows(JsonRows):
    """Yields features with `id`, `properties`, and the chosen `latitude` and `longitude`."""

    def __init__(self, document: FeedDocument) -> None:
        super().__init__(document, "features.item")

    def __iter__(self) -> Iterator[FeedRow]:
        for feature in super().__iter__():
            try:
                point = point_of(feature.get("geometry"))
            except InvalidRow as error:
                self.reject(_rejected(feature, error))
                continue
            yield {
                "id": feature.get("id"),
                "properties": feature.get("properties") or {},
                "latitude": point.latitude,
                "longitude": point.longitude,
            }


def point_of(geometry: object) -> LngLat:
    """Return a point of a geometry. Raises InvalidRow."""
    found: dict[str, Any] = geometry if isinstance(geometry, dict) else {}
    kind, coordinates = found.get("type"), found.get("coordinates", ())
    try:
        match kind:
            case "Point":
                return _position(coordinates)
            case "MultiPoint" | "LineString":
                return _middle(_positions(coordinates))
            case "MultiLineString":
                return _middle(_positions(max(coordinates, key=len)))
            case "Polygon":
                return _inside([_positions(ring) for ring in coordinates])
            case "MultiPolygon":
                polygons = [[_positions(ring) for ring in polygon] for polygon in coordinates]
                return _inside(max(polygons, key=lambda rings: abs(_area(rings[0]))))
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InvalidRow("geometry", kind, "has invalid coordinates") from error
    raise InvalidRow("geometry", kind, "is no point, line or polygon")


def _rejected(feature: FeedRow, error: InvalidRow) -> Rejection:
    found = feature.get("id")
    return rejection(str(found) if isinstance(found, int | str) else "", error)


def _position(value: Any) -> LngLat:
    longitude, latitude = value[0], value[1]
    if isinstance(longitude, bool | str) or isinstance(latitude, bool | str):
        raise TypeError("a coordinate is a number")
    return LngLat(float(longitude), float(latitude))


def _positions(values: Any) -> list[LngLat]:
    if not 1 <= len(values) <= _MOST_POINTS:
        raise ValueError(f"1 to {_MOST_POINTS} positions are allowed")
    return [_position(value) for value in values]


def _middle(points: Sequence[LngLat]) -> LngLat:
    return points[len(points) // 2]


def _area(ring: Sequence[LngLat]) -> float:
    """Return twice the signed area of a closed ring, in square degrees."""
    return sum(a.longitude * b.latitude - b.longitude * a.latitude for a, b in pairwise(ring))


def _inside(rings: Sequence[Sequence[LngLat]]) -> LngLat:
    """Return a point inside the outer ring and outside of the inner ones.

    It is the middle of the longest part of a horizontal line that is inside. The line is between two neighbouring
    latitudes near the middle of the polygon, so that it meets no corner.
    """
    outer = rings[0]
    if len(outer) < _LEAST_RING:
        raise ValueError("a ring has at least four positions")
    levels = sorted({point.latitude for point in outer})
    if len(levels) == 1:
        return _middle(outer)
    middle = (levels[0] + levels[-1]) / 2
    below = max(level for level in levels if level <= middle)
    above = min(level for level in levels if level > below)
    latitude = (below + above) / 2
    crossings = sorted(
        a.longitude + (latitude - a.latitude) / (b.latitude - a.latitude) * (b.longitude - a.longitude)
        for ring in rings
        for a, b in pairwise(ring)
        if (a.latitude > latitude) != (b.latitude > latitude)
    )
    west, east = max(zip(crossings[::2], crossings[1::2], strict=True), key=lambda part: part[1] - part[0])
    point = LngLat((west + east) / 2, latitude)
    if not all(map(math.isfinite, point)):
        raise ValueError("a coordinate is not finite")
    return point
