"""The public location: the point that others see instead of a hidden location.

It is drawn once for each owner and each cell of about 200 m. So all objects of an owner at one place have one public
location, also after edits, deletions and moves there and back: one for locations that the owner sent, and one for
location fixes. The mean of many points that are drawn for one place would reveal it.
"""

import hashlib
import hmac
import math
from collections.abc import Callable
from typing import Final, NamedTuple

from services.storage.core.sphere import EARTH_RADIUS_M, GeoPoint, destination

PUBLIC_RADIUS_M: Final = 500.0
"""The largest distance between a location and its public location."""
_CELL_M: Final = 200.0
_ROWS: Final = math.ceil(math.pi * EARTH_RADIUS_M / _CELL_M)
# A cell is a little higher than wide or the reverse, so its corners are at most this far from its centre.
_CORNER_M: Final = _CELL_M / math.sqrt(2.0) + 1.0


class Cell(NamedTuple):
    """A part of the earth of at most 200 m by 200 m. Rows go from south to north."""

    row: int
    column: int


def cell_of(location: GeoPoint) -> Cell:
    """Return the cell of a location."""
    row = min(int((location.lat + 90.0) / 180.0 * _ROWS), _ROWS - 1)
    columns = _columns(row)
    return Cell(row, int((location.lng + 180.0) / 360.0 * columns) % columns)


def public_point(location: GeoPoint, random_unit: Callable[[], float]) -> GeoPoint:
    """Return a point for the cell of a location, within PUBLIC_RADIUS_M of each location of the cell.

    `random_unit` returns numbers from 0 to 1, uniform and independent; see `seeded_unit`.
    """
    row, column = cell_of(location)
    centre = GeoPoint((column + 0.5) / _columns(row) * 360.0 - 180.0, (row + 0.5) / _ROWS * 180.0 - 90.0)
    # The square root makes the density uniform.
    away_m = (PUBLIC_RADIUS_M - _CORNER_M) * math.sqrt(random_unit())
    return destination(centre, bearing_rad=2.0 * math.pi * random_unit(), distance_m=away_m)


def seeded_unit(key: bytes, subject: str, location: GeoPoint) -> Callable[[], float]:
    """Return a function that returns two numbers from 0 to 1, the same ones for each location of a cell.

    They depend on a secret key and on `subject`: without the key they cannot be computed from a guessed location.
    """
    row, column = cell_of(location)
    digest = hmac.digest(key, f"{row}.{column}.{subject}".encode(), hashlib.sha256)
    numbers = (int.from_bytes(digest[begin : begin + 7], "big") / 2.0**56 for begin in (0, 8))
    return numbers.__next__


def _columns(row: int) -> int:
    """Return the number of cells of a row. Its parallel nearest to the equator is the longest one."""
    edges = (row / _ROWS * 180.0 - 90.0, (row + 1) / _ROWS * 180.0 - 90.0)
    nearest = min(abs(edge) for edge in edges)
    return max(1, math.ceil(2.0 * math.pi * EARTH_RADIUS_M * math.cos(math.radians(nearest)) / _CELL_M))
