"""The gazetteer: find populated places by the start of a name, and list those inside a box for the labels of a map.

Source: `places.tsv.xz` beside this module, written from GeoNames (CC BY 4.0) by `deploy/develop/places.py`: the 34,006
places with at least 15,000 inhabitants, seats of administrations, and districts of large cities. Pages that show a name
must show the attribution.
"""

import heapq
import lzma
import math
import unicodedata
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

PLACES: Final = Path(__file__).with_name("places.tsv.xz")
"""The places, the most populous first, one on each line. The fields are separated by tabs: name, country, latitude,
longitude, population, other names."""
EARTH_RADIUS_M: Final = 6_378_100.0
"""The radius of the Earth in metres that MongoDB uses for spheres. Services that match places use it too."""
MOST_CANDIDATES: Final = 200
"""The most places, beside the near ones, that a search ranks by distance."""
NEAR_M: Final = 50_000.0
"""Every place within this distance of the centre is a candidate, however small it is."""
_HALF_WEIGHT_M: Final = 20_000.0
_OTHER_NAME: Final = 20.0
_MOST_ENTRIES: Final = 1_000  # a prefix of more names has its candidates ready: ranking 1,000 names takes 0.5 ms
_LONGEST_READY: Final = 4  # characters; no prefix of five characters has more names
_METRES_PER_DEGREE: Final = EARTH_RADIUS_M * math.pi / 180
_POLE: Final = 90.0
_MOST_CELLS: Final = 2_000

# Letters that Unicode does not decompose.
_UNDECOMPOSED: Final = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ð": "d", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
_APOSTROPHES: Final = dict.fromkeys(map(ord, "'`\u00b4\u2018\u2019\u02bb\u02bc\u02b9"))


class PopulatedPlace(NamedTuple):
    """A city, a town, or a district of a city."""

    rank: int
    """The position among all places in the order of population, from 0. It is unique."""
    name: str
    """The name in GeoNames: often the local one (Köln), for large cities the English one (Munich)."""
    country: str
    """The code of the country, ISO 3166-1 alpha-2."""
    latitude: float
    longitude: float
    population: int


class FoundPlace(NamedTuple):
    """A result of a search."""

    place: PopulatedPlace
    matched: str
    """The name that matched, as GeoNames writes it: München for "munch"."""
    distance_m: float | None
    """The distance from the centre in metres. None without a centre."""


def fold(text: str) -> str:
    """Return a name as it is compared: without case, accents and apostrophes. Hyphens become spaces."""
    plain = text.lower()
    if not plain.isascii():
        decomposed = unicodedata.normalize("NFKD", text.casefold())
        plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter)).translate(_UNDECOMPOSED)
    return " ".join(plain.translate(_APOSTROPHES).replace("-", " ").split())


def distance_m(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Return the great-circle distance between two points in metres, on a sphere (error below 0.6 %)."""
    first, second = math.radians(latitude), math.radians(other_latitude)
    half_longitude = math.radians(other_longitude - longitude) / 2
    chord = math.sin((second - first) / 2) ** 2 + math.cos(first) * math.cos(second) * math.sin(half_longitude) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, chord)))


class Gazetteer:
    """The populated places in memory. Building one reads `places.tsv.xz`, which takes 0.6 to 0.7 s of processor time.

    Build it once for a process, outside the event loop, when the first page needs it. It never changes, so threads may
    share it.
    """

    def __init__(self) -> None:
        # Places are in the order of their population, so the index of a place is also its rank. Few large buffers
        # instead of 300,000 strings and tuples, which would need 60 MB.
        names, written = list[bytes](), list[bytes]()
        self._populations, self._latitudes, self._longitudes = array("I"), array("d"), array("d")
        owner, is_other, self._by_owner_ends = array("I"), bytearray(), array("I")
        for index, line in enumerate(lzma.decompress(PLACES.read_bytes()).splitlines()):
            name, country, latitude, longitude, population, *others = line.split(b"\t")
            names.append(country + name)
            self._latitudes.append(float(latitude))
            self._longitudes.append(float(longitude))
            self._populations.append(int(population))
            written += name, *others
            owner.extend([index] * (1 + len(others)))
            is_other += b"\0" + b"\1" * len(others)
            self._by_owner_ends.append(len(written))
        self._names, self._name_ends = _packed(names)
        folded = [fold(each.decode()).encode() for each in written]
        order = array("I", sorted(range(len(folded)), key=folded.__getitem__))
        self._folded, self._folded_ends = _packed([folded[entry] for entry in order])
        self._written, self._written_ends = _packed([written[entry] for entry in order])
        del names, written, folded
        self._owner = array("I", map(owner.__getitem__, order))
        self._is_other = bytes(map(is_other.__getitem__, order))
        # The names in the file are grouped by place, so the inverse of the order has the entries of each place.
        self._by_owner = array("I", sorted(range(len(order)), key=order.__getitem__))
        self._cells: dict[tuple[int, int], array[int]] = {}
        for index, point in enumerate(zip(self._latitudes, self._longitudes, strict=True)):
            self._cells.setdefault((math.floor(point[0]), math.floor(point[1])), array("I")).append(index)
        self._ready = dict(self._ready_candidates())

    def __len__(self) -> int:
        return len(self._populations)

    def search(self, text: str, *, centre: tuple[float, float] | None = None, limit: int = 8) -> list[FoundPlace]:
        """Return at most `limit` places with a name that starts with `text`, the best first.

        Case and accents do not matter. A place counts by its GeoNames name and by its other names in Latin letters.
        The weight of a place is its population, divided by 20 if only another name matches. With a centre (latitude,
        longitude), the weight is also divided by (1 + distance / 20 km)². The heaviest 200 places and all places
        within 50 km of the centre are ranked. Equal weights are in the order of the rank, so equal calls return
        equal results. An empty text returns nothing.
        """
        prefix = fold(text).encode()
        if not prefix:
            return []
        start = self._position(prefix)
        end = self._position(prefix + b"\xff")
        ready = self._ready.get(prefix)
        candidates = dict(ready) if ready is not None else dict(self._heaviest(start, end))
        if centre is None:
            best = sorted(candidates, key=lambda index: (-self._weight(candidates[index], index), index))
            return [self._found(index, candidates[index], None) for index in best[:limit]]
        latitude, longitude = centre
        for index in self._near(latitude, longitude):
            if index not in candidates and (entry := self._best_entry(index, start, end)) is not None:
                candidates[index] = entry
        distances = {
            index: distance_m(latitude, longitude, self._latitudes[index], self._longitudes[index])
            for index in candidates
        }
        best = sorted(
            candidates,
            key=lambda index: (
                -self._weight(candidates[index], index) / (1 + distances[index] / _HALF_WEIGHT_M) ** 2,
                index,
            ),
        )
        return [self._found(index, candidates[index], distances[index]) for index in best[:limit]]

    def within(self, *, south: float, west: float, north: float, east: float, limit: int = 60) -> list[PopulatedPlace]:
        """Return at most `limit` places inside a box of degrees, the most populous first.

        `west` greater than `east` means that the box crosses the antimeridian.
        """
        wraps = west > east
        rows = range(math.floor(max(-_POLE, south)), math.floor(min(_POLE, north)) + 1)
        columns = [*range(math.floor(west), 180), *range(-180, math.floor(east) + 1)] if wraps else []
        columns = columns or list(range(math.floor(west), math.floor(east) + 1))
        # A large box has many places, so the most populous of all places fill the result soon.
        indices: Iterable[int] = range(len(self._populations))
        if len(rows) * len(columns) <= _MOST_CELLS:
            indices = sorted(
                index for row in rows for column in columns for index in self._cells.get((row, column), ())
            )
        found: list[PopulatedPlace] = []
        for index in indices:
            longitude = self._longitudes[index]
            inside = longitude >= west or longitude <= east if wraps else west <= longitude <= east
            if inside and south <= self._latitudes[index] <= north:
                found.append(self._place(index))
                if len(found) == limit:
                    break
        return found

    def _ready_candidates(self) -> Iterator[tuple[bytes, list[tuple[int, int]]]]:
        """Yield the candidates of every prefix that many names share."""
        for length in range(1, _LONGEST_READY + 1):
            start = 0
            while start < len(self._owner):
                prefix = self._name(start).decode()[:length].encode()
                end = self._position(prefix + b"\xff")
                if end - start > _MOST_ENTRIES:
                    yield prefix, self._heaviest(start, end)
                start = end

    def _heaviest(self, start: int, end: int) -> list[tuple[int, int]]:
        """Return the heaviest places of a range of entries, each with its best entry."""
        best: dict[int, int] = {}
        for entry in range(start, end):
            known = best.setdefault(self._owner[entry], entry)
            if known != entry and self._is_other[entry] < self._is_other[known]:
                best[self._owner[entry]] = entry
        return heapq.nsmallest(
            MOST_CANDIDATES, best.items(), key=lambda item: (-self._weight(item[1], item[0]), item[0])
        )

    def _best_entry(self, index: int, start: int, end: int) -> int | None:
        entries = self._by_owner[self._by_owner_ends[index - 1] if index else 0 : self._by_owner_ends[index]]
        matching = [(self._is_other[entry], entry) for entry in entries if start <= entry < end]
        return min(matching)[1] if matching else None

    def _weight(self, entry: int, index: int) -> float:
        return float(self._populations[index]) / (_OTHER_NAME if self._is_other[entry] else 1.0)

    def _near(self, latitude: float, longitude: float) -> Iterator[int]:
        reach = NEAR_M / _METRES_PER_DEGREE
        width = min(180.0, reach / max(0.001, math.cos(math.radians(min(_POLE, abs(latitude) + reach)))))
        for row in range(math.floor(latitude - reach), math.floor(latitude + reach) + 1):
            for column in range(math.floor(longitude - width), math.floor(longitude + width) + 1):
                for index in self._cells.get((row, (column + 180) % 360 - 180), ()):
                    if distance_m(latitude, longitude, self._latitudes[index], self._longitudes[index]) <= NEAR_M:
                        yield index

    def _found(self, index: int, entry: int, distance: float | None) -> FoundPlace:
        written = _slice(self._written, self._written_ends, entry).decode()
        return FoundPlace(self._place(index), written, distance)

    def _place(self, index: int) -> PopulatedPlace:
        text = _slice(self._names, self._name_ends, index).decode()
        latitude, longitude = self._latitudes[index], self._longitudes[index]
        return PopulatedPlace(index, text[2:], text[:2], latitude, longitude, self._populations[index])

    def _name(self, entry: int) -> bytes:
        return _slice(self._folded, self._folded_ends, entry)

    def _position(self, prefix: bytes) -> int:
        return bisect_left(range(len(self._owner)), prefix, key=self._name)


def _packed(names: list[bytes]) -> tuple[bytes, "array[int]"]:
    return b"".join(names), array("I", accumulate(map(len, names)))


def _slice(packed: bytes, ends: "array[int]", entry: int) -> bytes:
    return packed[ends[entry - 1] if entry else 0 : ends[entry]]
