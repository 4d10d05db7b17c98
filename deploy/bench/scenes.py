"""The scenes of bench.match: searches, and the offers that look for them. Equal sizes make equal scenes."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from services.storage.core.documents import to_document
from services.storage.core.matching import MatchSide
from services.storage.core.objects import ObjectFields, create_object
from services.storage.core.radii import radius_class
from services.storage.core.sphere import GeoPoint, destination

CHUNK = 5_000
"""The number of searches that are drawn from one seed, so that several processes can draw."""

_OWNERS = 50_000
_BERLIN = GeoPoint(13.4, 52.5)
_RADII_M = (100.0, 20_000.0)
_SMALL_RADII_M = (100.0, 2_500.0)
_WIDE_M = 50_000.0
_COMMON_KEY = "small"


class _Draw:
    """Draws objects from a seed."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a seeded generator makes equal scenes

    def near(self, centre: GeoPoint, sigma_m: float) -> GeoPoint:
        bearing = self.random.uniform(0.0, 2.0 * math.pi)
        return destination(centre, bearing_rad=bearing, distance_m=abs(self.random.gauss(0.0, sigma_m)))

    def within(self, centre: GeoPoint, radius_m: float) -> GeoPoint:
        bearing = self.random.uniform(0.0, 2.0 * math.pi)
        return destination(centre, bearing_rad=bearing, distance_m=radius_m * math.sqrt(self.random.random()))

    def radius(self, limits: tuple[float, float] = _RADII_M) -> float:
        """Return a radius whose logarithm is uniform: each radius class has as many."""
        return math.exp(self.random.uniform(math.log(limits[0]), math.log(limits[1])))

    def keys(self, number: int) -> tuple[str, ...]:
        return tuple(f"k{each}" for each in self.random.sample(range(number), 2))


Spot = tuple[GeoPoint, float, tuple[str, ...]]
"""A location, a radius and keys."""


@dataclass(frozen=True)
class Scene:
    """Searches, and offers that match some of them."""

    name: str
    title: str
    search: Callable[[_Draw, int], Spot]
    """Draws the n-th search."""
    offer: Callable[[_Draw], Spot]

    def searches(self, size: int) -> Iterator[dict[str, Any]]:
        """Yield the documents of the searches."""
        for first in range(0, size, CHUNK):
            yield from self.chunk(first, size)

    def chunk(self, first: int, size: int) -> Iterator[dict[str, Any]]:
        """Yield the documents of the searches from number `first` on, at most CHUNK."""
        draw = _Draw(f"searches from {first}")
        fields = ObjectFields(owner="", location=_BERLIN, text="a search", keywords=("k",))
        template = to_document(create_object("search", "", fields, now_ms=0, random_unit=draw.random.random))
        del template["due_at"]
        for number in range(first, min(first + CHUNK, size)):
            location, radius_m, keys = self.search(draw, number)
            point = {"type": "Point", "coordinates": list(location)}
            yield template | {
                "_id": f"{number:024x}",
                "owner": f"s{number % _OWNERS}",
                "keywords": list(keys),
                "keys": list(keys),
                "location": point,
                "public_location": point,
                "radiusMeters": radius_m,
                "class": radius_class(radius_m),
            }

    def offers(self, number: int) -> list[MatchSide]:
        """Return offers, as the subjects of finds."""
        draw = _Draw("offers")
        return [MatchSide(f"o{each}", "offerer", *self.offer(draw)) for each in range(number)]


def _cities(number: int) -> list[GeoPoint]:
    draw = _Draw("cities")
    return [GeoPoint(draw.random.uniform(-179, 179), draw.random.uniform(-45, 60)) for _ in range(number)]


_CITIES = _cities(200)


def _in_a_city(draw: _Draw) -> Spot:
    return draw.near(draw.random.choice(_CITIES), 6_000.0), draw.radius(), draw.keys(20)


def _in_the_dense_city(draw: _Draw) -> Spot:
    return draw.near(_BERLIN, 8_000.0), draw.radius(), draw.keys(100)


def _small_or_in_a_city(draw: _Draw, number: int) -> Spot:
    if number % 10:
        return _in_a_city(draw)
    return draw.within(_BERLIN, _WIDE_M), draw.radius(_SMALL_RADII_M), (_COMMON_KEY,)


SCENES = (
    Scene("cities", "200 cities", lambda draw, _: _in_a_city(draw), _in_a_city),
    Scene("dense", "one dense city", lambda draw, _: _in_the_dense_city(draw), _in_the_dense_city),
    Scene(
        "small",
        "small circles around an offer of 50 km",
        _small_or_in_a_city,
        lambda draw: (draw.near(_BERLIN, 5_000.0), _WIDE_M, (_COMMON_KEY,)),
    ),
)
