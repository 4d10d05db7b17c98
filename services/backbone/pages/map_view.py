"""The view of a map: what a page puts on it, and the two drawings that `templates/map.html` renders.

A page builds `MapContent` and calls `build_map`. `static/map.js` gets the same content as JSON.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, Protocol

import msgspec

from services.backbone.pages.gazetteer import PopulatedPlace
from services.backbone.pages.maps import (
    Extent,
    Frame,
    Grid,
    Label,
    Rectangle,
    cluster,
    distance_text,
    fit,
    fitting_labels,
    grid,
)

WIDE: Final = (720, 460)
NARROW: Final = (360, 300)
_NEAR_NAMES: Final = 80
_NAMES_MARGIN: Final = 0.5  # of the frame: names are still there when a reader moves the map by half its width
_ZOOMS_OUT: Final = (1, 2, 3)  # a reader who zooms out further sees no new names
_MOST_FAR_NAMES: Final = 120
_MARKER_PX: Final = 15.0  # half the side of the square that no name may enter
_SELECTED: Final = 1.4
_SCALE_PX: Final = Rectangle(16.0, 40.0, 24.0, 8.0)  # from the left, to the top, beyond the bar, from the bottom
_ATTRIBUTION_PX: Final = (230.0, 32.0)  # "Places: GeoNames, CC BY 4.0" at 12 px, with its padding
_ALONE: Final = ("search", "self")  # the kinds of markers that join no cluster


@dataclass(frozen=True)
class MapMarker:
    """A point on a map. Raises ValueError if `href` leaves the site."""

    latitude: float
    longitude: float
    kind: Literal["offer", "match", "search", "self"]
    title: str
    href: str | None = None
    """A path of this site, or a fragment of the page."""
    selected: bool = False

    def __post_init__(self) -> None:
        # A browser reads "//host" and "/\host" as another host.
        if self.href is not None and not re.match(r"#|/(?![/\\])", self.href):
            raise ValueError(
                f'invalid href "{self.href}" of a marker. Use a path (/offers/1) or a fragment (#offer-1).'
            )


@dataclass(frozen=True)
class MapCircle:
    """A radius on a map: the reader's own one, or the one of a search."""

    latitude: float
    longitude: float
    radius_m: float
    kind: Literal["own", "search"]


@dataclass(frozen=True)
class MapWords:
    """The words of a map. `{number}` is replaced in `cluster`."""

    places: str
    cluster: str
    listed: str
    zoom_in: str
    zoom_out: str


MAP_WORDS: Final[Mapping[str, MapWords]] = {
    "de": MapWords("Ortsnamen", "{number} Einträge", "Alles auf der Karte", "Vergrößern", "Verkleinern"),
    "en": MapWords("Places", "{number} entries", "All on the map", "Zoom in", "Zoom out"),
}
"""The words by language."""


@dataclass(frozen=True)
class MapAssets:
    """The addresses that `static/map.js` loads when a reader uses the map. The defaults are empty: the SVG stays.

    Raises ValueError if only one of Leaflet's two addresses is given.
    """

    leaflet: str = ""
    """The module `static/vendor/leaflet/leaflet-src.esm.js`."""
    leaflet_style: str = ""
    """The style sheet `static/vendor/leaflet/leaflet.css`."""
    tiles: str = ""
    """The address of raster tiles (`MapSettings.map_tiles_url`). Empty: paper."""
    tiles_attribution: str = ""

    def __post_init__(self) -> None:
        if bool(self.leaflet) != bool(self.leaflet_style):
            raise ValueError("give both leaflet and leaflet_style, or neither of them")


@dataclass(frozen=True)
class MapContent:
    """What a page puts on a map."""

    map_id: str
    """The id of the map's box, unique in the page."""
    title: str
    """The name of the map for assistive technology."""
    markers: Sequence[MapMarker] = ()
    circles: Sequence[MapCircle] = ()
    listed_beside: bool = False
    """Whether the page lists all markers beside the map. If not, the map has a list of them below it."""
    when_idle: bool = False
    """Whether Leaflet replaces the SVG when the browser is idle, before a reader touches the map."""


class DrawnMarker(msgspec.Struct, frozen=True):
    """A marker or a cluster in a drawing."""

    x: float
    y: float
    kind: str
    """The kind of the marker, or cluster."""
    title: str
    href: str | None
    selected: bool
    number: int
    """The markers that this one stands for."""
    has_match: bool


class DrawnCircle(msgspec.Struct, frozen=True):
    """A circle in a drawing."""

    x: float
    y: float
    radius: float
    kind: str


@dataclass(frozen=True)
class Drawing:
    """One of the two SVGs of a map."""

    frame: Frame
    grid: Grid
    scale: str
    """The text of the scale bar. Its length is `grid.step_px`."""
    labels: Sequence[Label]
    circles: Sequence[DrawnCircle]
    markers: Sequence[DrawnMarker]

    @property
    def has_links(self) -> bool:
        """Return whether a marker is a link. Then the SVG can't have the role of an image."""
        return any(marker.href for marker in self.markers)


@dataclass(frozen=True)
class MapView:
    """The argument of the macro `map` in `templates/map.html`."""

    content: MapContent
    words: MapWords
    assets: MapAssets
    wide: Drawing
    narrow: Drawing
    data: str = field(repr=False)
    """The content as JSON for `static/map.js`."""


class PlaceSource(Protocol):
    """What a map needs of the gazetteer."""

    def within(
        self, *, south: float, west: float, north: float, east: float, limit: int = ...
    ) -> Sequence[PopulatedPlace]: ...


def build_map(
    content: MapContent, *, places: PlaceSource | None = None, language: str = "en", assets: MapAssets | None = None
) -> MapView:
    """Return the view of a map. Takes about 5 ms with 100 markers, mostly for the names. Does no I/O.

    Without `places`, the map has no names. Raises KeyError if the language has no `MAP_WORDS`.
    """
    words = MAP_WORDS[language]
    extents = [Extent(circle.latitude, circle.longitude, circle.radius_m) for circle in content.circles]
    extents += [Extent(marker.latitude, marker.longitude) for marker in content.markers]
    frames = [fit(extents, width=width, height=height) for width, height in (WIDE, NARROW)]
    named: list[tuple[str, float, float]] = []
    if places is not None:
        ordered = sorted(_names(places, frames[0]), key=lambda place: place.rank)
        named = [(place.name, round(place.latitude, 4), round(place.longitude, 4)) for place in ordered]
    wide, narrow = (_draw(content, words, frame, named) for frame in frames)
    data = _json(content, words, frames, named)
    return MapView(content, words, assets or MapAssets(), wide, narrow, data)


def _names(places: PlaceSource, frame: Frame) -> set[PopulatedPlace]:
    """Return the places whose names a page gets: those around the frame, and those that fit after zooming out."""
    found = set(places.within(**frame.box(margin=_NAMES_MARGIN)._asdict(), limit=_NEAR_NAMES))
    for steps in _ZOOMS_OUT:
        larger = replace(frame, zoom=frame.zoom - steps)
        by_name = {place.name: place for place in places.within(**larger.box()._asdict(), limit=_MOST_FAR_NAMES)}
        labels = fitting_labels(larger, [(name, place.latitude, place.longitude) for name, place in by_name.items()])
        found |= {by_name[label.text] for label in labels}
    return found


def _draw(content: MapContent, words: MapWords, frame: Frame, named: Sequence[tuple[str, float, float]]) -> Drawing:
    lines = grid(frame)
    markers = _drawn_markers(content.markers, words, frame)
    circles = [
        DrawnCircle(
            *frame.pixel(circle.latitude, circle.longitude),
            frame.radius_px(Extent(circle.latitude, circle.longitude, circle.radius_m)),
            circle.kind,
        )
        for circle in content.circles
    ]
    obstacles = [_area(marker) for marker in markers]
    width, height = _ATTRIBUTION_PX
    obstacles.append(Rectangle(frame.width - width, frame.height - height, frame.width, frame.height))
    scale = _SCALE_PX
    scale_right = scale.left + lines.step_px + scale.right
    obstacles.append(Rectangle(0, frame.height - scale.top - scale.bottom, scale_right, frame.height))
    labels = fitting_labels(frame, named, obstacles=obstacles)
    return Drawing(frame, lines, distance_text(lines.step_m), labels, circles, markers)


def _drawn_markers(markers: Sequence[MapMarker], words: MapWords, frame: Frame) -> list[DrawnMarker]:
    """Return the markers in the order of drawing: clusters and single ones, then search and self, then selected."""
    joining = [marker for marker in markers if not _is_alone(marker)]
    alone = sorted(filter(_is_alone, markers), key=lambda marker: marker.selected)
    points = [frame.pixel(marker.latitude, marker.longitude) for marker in joining]
    drawn = []
    for members in cluster(points):
        first = joining[members[0]]
        has_match = any(joining[member].kind == "match" for member in members)
        if len(members) == 1:
            drawn.append(_drawn(first, points[members[0]]))
        else:
            title = words.cluster.replace("{number}", str(len(members)))
            drawn.append(
                DrawnMarker(
                    *points[members[0]],
                    "cluster",
                    title,
                    None,
                    selected=False,
                    number=len(members),
                    has_match=has_match,
                )
            )
    return drawn + [_drawn(marker, frame.pixel(marker.latitude, marker.longitude)) for marker in alone]


def _is_alone(marker: MapMarker) -> bool:
    return marker.selected or marker.kind in _ALONE


def _drawn(marker: MapMarker, point: tuple[float, float]) -> DrawnMarker:
    is_match = marker.kind == "match"
    return DrawnMarker(
        *point, marker.kind, marker.title, marker.href, selected=marker.selected, number=1, has_match=is_match
    )


def _area(marker: DrawnMarker) -> Rectangle:
    half = _MARKER_PX * (_SELECTED if marker.selected else 1)
    return Rectangle(marker.x - half, marker.y - half, marker.x + half, marker.y + half)


def _json(
    content: MapContent, words: MapWords, frames: Sequence[Frame], named: Sequence[tuple[str, float, float]]
) -> str:
    data: dict[str, Any] = {
        "title": content.title,
        "whenIdle": content.when_idle,
        "words": asdict(words),
        "frames": [asdict(frame) for frame in frames],
        "circles": [asdict(circle) for circle in content.circles],
        "markers": [asdict(marker) for marker in content.markers],
        "names": named,
    }
    return msgspec.json.encode(data).decode()
