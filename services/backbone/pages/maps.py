"""The geometry of a map: Web Mercator pixels, the frame that shows given shapes, grid, scale bar, labels, clusters.

Pure functions of numbers. Pixels count from the top left corner of a frame, to the right and down.
"""

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

TILE_PX: Final = 256
"""The side of the world at zoom 0, as in every map of square tiles."""
MOST_LATITUDE: Final = 85.051_128_779_8
"""The latitude at which Web Mercator ends: its world is a square."""
CIRCUMFERENCE_M: Final = 2 * math.pi * 6_378_137.0
"""The equator of Web Mercator's sphere in metres (EPSG:3857)."""
MOST_ZOOM: Final = 15.0
"""The largest zoom of a fitted frame: 3 m to a pixel in Berlin. A single point needs some ground around it."""
CLUSTER_PX: Final = 28.0
"""The least distance of two markers, to the right or down: a marker is at most 26 px wide, with its halo."""
_LEAST_STEP_PX: Final = 64.0  # a scale bar of this length has room for its text
_COLUMN_PX: Final = 7.2  # of the widest system font (DejaVu Sans) at 12 px; names are set in 11 or 12 px
_MORE_PX: Final = 8.0  # for short names with wide characters, and as a gap
_LABEL_HEIGHT_PX: Final = 16.0
_EDGE_PX: Final = 4.0


class Rectangle(NamedTuple):
    """A rectangle of pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Rectangle") -> bool:
        """Return whether the two rectangles share an area."""
        left, top, right, bottom = other
        return self[0] < right and left < self[2] and self[1] < bottom and top < self[3]


class Box(NamedTuple):
    """A box of degrees. `west` is greater than `east` if the box crosses the antimeridian."""

    south: float
    west: float
    north: float
    east: float


class Extent(NamedTuple):
    """A shape to fit: a point, or a circle around it."""

    latitude: float
    longitude: float
    radius_m: float = 0.0


def project(latitude: float, longitude: float) -> tuple[float, float]:
    """Return the position in Web Mercator's square: 0 to 1, from the antimeridian to the east, and from north to south.

    Latitudes beyond 85.05 degrees count as 85.05 degrees.
    """
    angle = math.radians(max(-MOST_LATITUDE, min(MOST_LATITUDE, latitude)))
    return (longitude / 360 + 0.5) % 1.0, 0.5 - math.asinh(math.tan(angle)) / (2 * math.pi)


def unproject(x: float, y: float) -> tuple[float, float]:
    """Return latitude and longitude (-180 to 180) of a position in Web Mercator's square."""
    return math.degrees(math.atan(math.sinh(2 * math.pi * (0.5 - y)))), (x % 1.0) * 360 - 180


@dataclass(frozen=True)
class Frame:
    """The part of the world that a drawing shows."""

    width: int
    height: int
    latitude: float
    """The latitude of the centre."""
    longitude: float
    """The longitude of the centre."""
    zoom: float
    """The world is 256 * 2^zoom pixels wide."""

    @property
    def world_px(self) -> float:
        """The width of the world in pixels."""
        return TILE_PX * math.exp2(self.zoom)

    @property
    def metres_per_pixel(self) -> float:
        """The scale at the centre."""
        return CIRCUMFERENCE_M * math.cos(math.radians(self.latitude)) / self.world_px

    def pixel(self, latitude: float, longitude: float) -> tuple[float, float]:
        """Return the pixel of a point, on the side of the antimeridian that is closer to the centre."""
        x, y = project(latitude, longitude)
        centre_x, centre_y = project(self.latitude, self.longitude)
        to_east = (x - centre_x + 0.5) % 1.0 - 0.5
        return self.width / 2 + to_east * self.world_px, self.height / 2 + (y - centre_y) * self.world_px

    def position(self, x: float, y: float) -> tuple[float, float]:
        """Return latitude and longitude of a pixel. A pixel above or below the world is at its edge."""
        centre_x, centre_y = project(self.latitude, self.longitude)
        world_y = centre_y + (y - self.height / 2) / self.world_px
        return unproject(centre_x + (x - self.width / 2) / self.world_px, max(0.0, min(1.0, world_y)))

    def radius_px(self, extent: Extent) -> float:
        """Return the radius of a circle in pixels, at the latitude of the circle."""
        return _radius(extent) * self.world_px

    def box(self, *, margin: float = 0.0) -> Box:
        """Return the box of the frame, larger by `margin` times its size on each side."""
        beyond_x, beyond_y = self.width * margin, self.height * margin
        north, west = self.position(-beyond_x, -beyond_y)
        south, east = self.position(self.width + beyond_x, self.height + beyond_y)
        if self.width + 2 * beyond_x >= self.world_px:
            west, east = -180.0, 180.0
        return Box(south, west, north, east)


def fit(extents: Sequence[Extent], *, width: int, height: int, padding: int = 32) -> Frame:
    """Return the frame of the largest zoom that shows all extents with `padding` pixels around them.

    Without extents, it is the whole world. The zoom is at most `MOST_ZOOM`. Shapes on both sides of the antimeridian
    are shown side by side.
    """
    if not extents:
        extents = [Extent(MOST_LATITUDE, 0.0), Extent(-MOST_LATITUDE, 0.0)]
    points = [(*project(extent.latitude, extent.longitude), _radius(extent)) for extent in extents]
    centre_x, width_x = _shortest_arc([(x - radius, x + radius) for x, _, radius in points])
    top = max(0.0, min(y - radius for _, y, radius in points))
    bottom = min(1.0, max(y + radius for _, y, radius in points))
    zoom = MOST_ZOOM
    if width_x > 0:
        zoom = min(zoom, math.log2((width - 2 * padding) / (TILE_PX * width_x)))
    if bottom > top:
        zoom = min(zoom, math.log2((height - 2 * padding) / (TILE_PX * (bottom - top))))
    latitude, longitude = unproject(centre_x, (top + bottom) / 2)
    return Frame(width, height, latitude, longitude, zoom)


def _radius(extent: Extent) -> float:
    latitude = max(-MOST_LATITUDE, min(MOST_LATITUDE, extent.latitude))
    return min(0.5, extent.radius_m / (CIRCUMFERENCE_M * math.cos(math.radians(latitude))))


def _shortest_arc(arcs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return centre and width of the shortest arc of a circle of length 1 that contains all the arcs."""
    ordered = sorted((start % 1.0, start % 1.0 + (end - start)) for start, end in arcs)
    # The widest gap is outside of the result. The first candidate is the gap across 0.
    begin, reach = ordered[0][0], max(end for _, end in ordered)
    gap = begin + 1.0 - reach
    covered = ordered[0][1]
    for start, end in ordered[1:]:
        if start - covered > gap:
            gap, begin = start - covered, start
        covered = max(covered, end)
    width = min(1.0, 1.0 - gap)
    return (begin + width / 2) % 1.0, width


def round_distance(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is at least `least`, in the same unit."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= least * (1 - 1e-9)), 10 * power)


class Grid(NamedTuple):
    """The lines of a map, a round distance apart at the centre of the frame. One cell is as long as the scale bar."""

    step_m: float
    step_px: float
    columns: list[float]
    """The x of each vertical line."""
    rows: list[float]
    """The y of each horizontal line."""


def grid(frame: Frame) -> Grid:
    """Return the grid of a frame, with lines beyond it: one more width and height on each side."""
    step_m = round_distance(_LEAST_STEP_PX * frame.metres_per_pixel)
    step_px = step_m / frame.metres_per_pixel
    centre_x, centre_y = project(frame.latitude, frame.longitude)
    return Grid(
        step_m,
        step_px,
        list(_lines(frame.width, frame.width / 2 - centre_x * frame.world_px, step_px)),
        list(_lines(frame.height, frame.height / 2 - centre_y * frame.world_px, step_px)),
    )


def _lines(size: int, origin: float, step: float) -> Iterator[float]:
    for number in range(math.ceil((-size - origin) / step), math.floor((2 * size - origin) / step) + 1):
        yield origin + number * step


def distance_text(metres: float) -> str:
    """Return a round distance in words: 500 m, 2 km."""
    return f"{metres / 1000:.0f} km" if metres >= 1000 else f"{metres:g} m"  # noqa: PLR2004 - metres of a kilometre


class Label(NamedTuple):
    """A name on a map. Its text is centred at the point."""

    text: str
    x: float
    y: float

    @property
    def rectangle(self) -> Rectangle:
        """The area of the text, estimated for the widest system font."""
        columns = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in self.text)
        half_width, half_height = (columns * _COLUMN_PX + _MORE_PX) / 2, _LABEL_HEIGHT_PX / 2
        return Rectangle(self.x - half_width, self.y - half_height, self.x + half_width, self.y + half_height)


def fitting_labels(
    frame: Frame, named: Iterable[tuple[str, float, float]], *, obstacles: Iterable[Rectangle] = ()
) -> list[Label]:
    """Return the labels that fit, in the given order: (name, latitude, longitude) for each, the important ones first.

    Each label is inside the frame and overlaps neither an obstacle nor another label.
    """
    taken = list(obstacles)
    found = []
    inner = Rectangle(_EDGE_PX, _EDGE_PX, frame.width - _EDGE_PX, frame.height - _EDGE_PX)
    for name, latitude, longitude in named:
        label = Label(name, *frame.pixel(latitude, longitude))
        area = label.rectangle
        inside = inner.left <= area.left and area.right <= inner.right
        inside = inside and inner.top <= area.top and area.bottom <= inner.bottom
        if inside and not any(area.overlaps(other) for other in taken):
            taken.append(area)
            found.append(label)
    return found


def cluster(points: Sequence[tuple[float, float]], *, distance_px: float = CLUSTER_PX) -> list[list[int]]:
    """Return the indices of the points by cluster. The first point of a cluster is its position.

    A point joins the first cluster whose position is closer than `distance_px` both to the right and down, so the
    positions of two clusters are at least `distance_px` apart. `static/map-layers.js` follows the same rule.
    """
    clusters: list[list[int]] = []
    cells: dict[tuple[int, int], list[int]] = {}
    for index, (x, y) in enumerate(points):
        column, row = math.floor(x / distance_px), math.floor(y / distance_px)
        near = (
            number
            for cell in product(range(column - 1, column + 2), range(row - 1, row + 2))
            for number in cells.get(cell, ())
            if all(abs(a - b) < distance_px for a, b in zip((x, y), points[clusters[number][0]], strict=True))
        )
        if (first := min(near, default=None)) is not None:
            clusters[first].append(index)
        else:
            cells.setdefault((column, row), []).append(len(clusters))
            clusters.append([index])
    return clusters
