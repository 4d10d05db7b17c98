"""The sample of offers and searches that the demo posts, and the paths of those that move."""

import tomllib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from services.backbone.pages.gazetteer import distance_m

SAMPLE: Final = Path(__file__).with_name("sample.toml")

Collection = Literal["offers", "searches"]


class Point(NamedTuple):
    """A location in degrees."""

    latitude: float
    longitude: float


class SampleObject(NamedTuple):
    """An offer or a search of the sample."""

    collection: Collection
    owner: str
    """A name that no other object of the sample has. It is the device id of an object that moves."""
    text: str
    keywords: tuple[str, ...]
    radius_m: float
    path: tuple[Point, ...]
    """One point: it does not move. More: a closed path."""

    @property
    def is_mobile(self) -> bool:
        """Whether it moves."""
        return len(self.path) > 1

    def location(self, travelled_m: float = 0.0) -> Point:
        """Return the location after a distance in metres along the path, which has no end."""
        if not self.is_mobile:
            return self.path[0]
        legs = [(start, end, distance_m(*start, *end)) for start, end in pairwise((*self.path, self.path[0]))]
        left_m = travelled_m % sum(length_m for _, _, length_m in legs)
        for start, end, length_m in legs:
            if left_m <= length_m:
                return _between(start, end, left_m / length_m)
            left_m -= length_m
        return self.path[0]  # the sum of the lengths was rounded

    def document(self) -> dict[str, Any]:
        """Return the JSON object that creates it in storage."""
        latitude, longitude = self.location()
        return {
            "owner": self.owner,
            "text": self.text,
            "keywords": list(self.keywords),
            "location": {"type": "Point", "coordinates": [longitude, latitude]},
            "radiusMeters": self.radius_m,
            "isMobile": self.is_mobile,
            "showLocation": True,
        }


class Pair(NamedTuple):
    """A search and an offer that match, by their owners."""

    search: str
    offer: str


class DemoSample(NamedTuple):
    """The objects of the sample."""

    offers: tuple[SampleObject, ...]
    searches: tuple[SampleObject, ...]

    @property
    def objects(self) -> tuple[SampleObject, ...]:
        """All objects."""
        return self.offers + self.searches

    @property
    def mobile(self) -> tuple[SampleObject, ...]:
        """The objects that move."""
        return tuple(found for found in self.objects if found.is_mobile)

    def pairs(self, travelled_m: float = 0.0) -> set[Pair]:
        """Return the pairs that match when each moving object has travelled this distance.

        The rule of storage, written again: a demo that asked storage would not notice a match that storage misses.
        """
        return {
            Pair(search.owner, offer.owner)
            for offer in self.offers
            for search in self.searches
            if _keys(offer) & _keys(search)
            and _distance_m(offer, search, travelled_m) <= min(offer.radius_m, search.radius_m)
        }


def read_sample(path: Path = SAMPLE) -> DemoSample:
    """Read the sample."""
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    return DemoSample(tuple(_objects(written, "offers")), tuple(_objects(written, "searches")))


def _objects(written: Mapping[str, Any], collection: Collection) -> Iterator[SampleObject]:
    for row in written[collection]:
        points = row["route"] if "route" in row else [row["location"]]
        yield SampleObject(
            collection=collection,
            owner=row["owner"],
            text=row["text"],
            keywords=tuple(row["keywords"]),
            radius_m=row["radius_m"],
            path=tuple(Point(*point) for point in points),
        )


def _between(start: Point, end: Point, share: float) -> Point:
    """Return the point at a share of the way, on a straight line in degrees. The ways are too short to differ."""
    return Point(*(begin + share * (finish - begin) for begin, finish in zip(start, end, strict=True)))


def _keys(found: SampleObject) -> set[str]:
    return {keyword.casefold() for keyword in found.keywords}


def _distance_m(offer: SampleObject, search: SampleObject, travelled_m: float) -> float:
    return distance_m(*offer.location(travelled_m), *search.location(travelled_m))
