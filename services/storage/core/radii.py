"""Radius classes, and the discs that find every object whose circle can match a subject's circle.

Two objects match only within the smaller of both radii. A query with the subject's own radius reads all small circles
in a large disc, and nearly none of them reaches the subject. So each object carries a class of its radius, and a
subject queries each class of smaller radii with a disc of the size of that class.
"""

import math
from typing import Final, NamedTuple

MAX_RADIUS_M: Final = 100_000.0
DEFAULT_RADIUS_M: Final = 500.0
"""The radius of an object that names none."""
SMALLEST_CLASS: Final = 7
LARGEST_CLASS: Final = 17
CLASSES: Final = range(SMALLEST_CLASS, LARGEST_CLASS + 1)

QUERY_MARGIN_M: Final = 0.01
"""Added to the radius of each query, so that rounding errors of the server exclude no match. `decide` is exact."""


class InvalidRadius(ValueError):
    """The radius is not a number of metres from 0 to MAX_RADIUS_M."""


def parse_radius(radius_m: float | None) -> float:
    """Return the radius, or the default for None. Raises InvalidRadius."""
    if radius_m is None:
        return DEFAULT_RADIUS_M
    if not 0.0 <= radius_m <= MAX_RADIUS_M:
        raise InvalidRadius(f"radius {radius_m} is not between 0 and {MAX_RADIUS_M:.0f} m")
    return float(radius_m)


def radius_class(radius_m: float) -> int:
    """Return the smallest n from 7 to 17 with 2^n m >= the radius. Raises InvalidRadius."""
    parse_radius(radius_m)
    mantissa, exponent = math.frexp(radius_m)  # radius = mantissa * 2^exponent, 0.5 <= mantissa < 1
    return max(SMALLEST_CLASS, exponent - 1 if mantissa == 0.5 else exponent)  # noqa: PLR2004 - an exact power of two


class Disc(NamedTuple):
    """A query: all objects of these radius classes within a distance of the subject."""

    classes: tuple[int, ...]
    radius_m: float


def discs(radius_m: float) -> list[Disc]:
    """Return the discs of a subject with this radius, larger classes first. They miss no match.

    Each class with 2^n < radius gets a disc of 2^n m. All larger classes share one disc of the radius. So there are at
    most 11 discs. Larger classes first: they return the first 500 matches sooner.
    """
    smaller = [n for n in CLASSES if 2.0**n < radius_m]
    larger = tuple(n for n in CLASSES if 2.0**n >= radius_m)
    return [Disc(larger, radius_m), *(Disc((n,), 2.0**n) for n in reversed(smaller))]
