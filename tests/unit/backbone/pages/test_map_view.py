import functools
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.pages import map_view
from services.backbone.pages.gazetteer import Gazetteer, PopulatedPlace
from services.backbone.pages.map_view import (
    MAP_WORDS,
    MapAssets,
    MapCircle,
    MapContent,
    MapMarker,
    MapView,
    build_map,
)

PAGES = Path(map_view.__file__).parent
HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{ 7 * 7 }} & \u2028"


class Towns:
    """Two places, wherever the box is."""

    def within(self, *, south: float, west: float, north: float, east: float, limit: int = 60) -> list[PopulatedPlace]:
        del south, west, north, east
        return [
            PopulatedPlace(1, HOSTILE, "DE", 52.56, 13.30, 9),
            PopulatedPlace(2, "Berlin", "DE", 52.47, 13.48, 5),
        ][:limit]


@functools.cache
def template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.from_string('{% from "map.html" import map %}{{ map(view) }}')


def render(view: MapView) -> str:
    return template().render(view=view)


class Elements(HTMLParser):
    """The elements of a page, as a browser reads them: (name, attributes)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def example(*, listed_beside: bool = False, href: str | None = None) -> MapContent:
    return MapContent(
        map_id="found",
        title=HOSTILE,
        markers=[
            MapMarker(52.50, 13.40, "offer", HOSTILE, href),
            MapMarker(52.53, 13.42, "match", "match"),
            MapMarker(52.51, 13.45, "search", "search"),
            MapMarker(52.52, 13.35, "self", "you"),
            MapMarker(52.49, 13.33, "offer", "selected", selected=True),
        ],
        circles=[MapCircle(52.51, 13.4, 5000, "own"), MapCircle(52.51, 13.45, 3000, "search")],
        listed_beside=listed_beside,
    )


def test_text_of_users_is_escaped_everywhere() -> None:
    assets = MapAssets('/x"><script>', "/y'", 'https://t/{z}/{x}/{y}"><script>', HOSTILE)
    page = render(build_map(example(href='/o"><script>'), places=Towns(), assets=assets))
    assert "<script" not in page
    assert "<img" not in page
    assert "{{" not in page.replace("{{ 7 * 7 }}", "")
    assert len(re.findall(r'data-map="[^"<>]*"', page)) == 1


@given(st.text(max_size=40))
def test_content_in_the_attribute_is_the_content(title: str) -> None:
    content = MapContent("found", title, [MapMarker(52.5, 13.4, "offer", title, "#offer-1")])
    page = render(build_map(content))
    [data] = [json.loads(found["data-map"] or "") for _, found in Elements(page).found if "data-map" in found]
    assert data["title"] == data["markers"][0]["title"] == title


def test_page_has_no_inline_style_and_no_script() -> None:
    page = render(build_map(example(), places=Towns()))
    for name, attributes in Elements(page).found:
        assert name not in {"style", "script"}
        assert not [key for key in attributes if key == "style" or key.startswith("on")]


def test_attribution_is_in_every_map() -> None:
    for view in (build_map(example(), language="de"), build_map(MapContent("empty", "Empty"))):
        page = render(view)
        assert "CC BY 4.0" in page
        assert "GeoNames" in page
    assert "Ortsnamen: " in render(build_map(example(), language="de"))


@pytest.mark.parametrize("listed_beside", [True, False])
def test_every_marker_is_in_a_list(*, listed_beside: bool) -> None:
    page = render(build_map(example(listed_beside=listed_beside, href="/offers/1"), places=Towns()))
    items = re.findall(r"<li>", page)
    assert len(items) == (0 if listed_beside else 5)
    assert ("<details" in page) is not listed_beside
    # Each link of the drawing is out of the order of the keyboard, because a list has it too.
    drawing = page.partition("<details")[0]
    assert re.findall(r"<a href=./offers/1.[^>]*>", drawing) == ['<a href="/offers/1" tabindex="-1">'] * 2


def test_drawing_is_an_image_unless_it_contains_links() -> None:
    assert render(build_map(example())).count('role="img"') == 2
    linked = render(build_map(example(href="#offer-1")))
    assert linked.count('role="group"') == 2
    assert 'role="img"' not in linked
    assert (
        len(set(re.findall(r'aria-labelledby="([^"]+)"', linked)) & set(re.findall(r'<title id="([^"]+)"', linked)))
        == 2
    )


@pytest.mark.parametrize(
    "href", ["https://elsewhere", "//elsewhere", "/\\elsewhere", "javascript:alert(1)", "", "offers/1", "?q=1"]
)
def test_href_that_leaves_the_site_is_rejected(href: str) -> None:
    with pytest.raises(ValueError, match="invalid href"):
        MapMarker(52.5, 13.4, "offer", "title", href)


def test_leaflet_needs_its_style_sheet() -> None:
    with pytest.raises(ValueError, match="both"):
        MapAssets(leaflet="/static/leaflet.js")


def test_near_markers_are_a_cluster_with_their_number() -> None:
    near = [MapMarker(52.5 + n / 1e5, 13.4, "offer", f"offer {n}") for n in range(14)]
    far = MapMarker(52.6, 13.6, "offer", "far")
    view = build_map(MapContent("found", "Offers", [*near, far]))
    assert [(marker.kind, marker.number, marker.title) for marker in view.wide.markers] == [
        ("cluster", 14, "14 entries"),
        ("offer", 1, "far"),
    ]
    assert '<text class="map-number" y="4" text-anchor="middle">14</text>' in render(view)


def test_search_self_and_selected_join_no_cluster_and_are_drawn_last() -> None:
    spot = [MapMarker(52.5, 13.4, kind, kind) for kind in ("offer", "match", "search", "self")]
    selected = MapMarker(52.5, 13.4, "offer", "selected", selected=True)
    view = build_map(MapContent("found", "Offers", [selected, *spot]))
    assert [marker.kind for marker in view.wide.markers] == ["cluster", "search", "self", "offer"]
    assert view.wide.markers[0].has_match
    assert view.wide.markers[-1].selected


@pytest.mark.parametrize(
    "points", [[(90.0, 180.0), (-90.0, -180.0)], [(0.0, 179.9), (0.0, -179.9)], [(90.0, 0.0)], [(0.0, 0.0)] * 3, []]
)
def test_every_position_is_drawn(points: list[tuple[float, float]]) -> None:
    markers = [MapMarker(latitude, longitude, "self", "point") for latitude, longitude in points]
    circles = [MapCircle(latitude, longitude, 50_000, "own") for latitude, longitude in points]
    view = build_map(MapContent("found", "Points", markers, circles), places=Towns())
    assert "nan" not in render(view)
    for drawing in (view.wide, view.narrow):
        assert all(0 <= marker.x <= drawing.frame.width for marker in drawing.markers)
        assert all(0 <= marker.y <= drawing.frame.height for marker in drawing.markers)


def test_every_language_has_all_words() -> None:
    for words in MAP_WORDS.values():
        assert "{number}" in words.cluster
        assert all(vars(words).values())


def test_map_of_many_markers_is_fast() -> None:
    gazetteer = Gazetteer()
    markers = [MapMarker(52.4 + n % 25 / 125, 13.2 + n // 25 / 50, "offer", "x" * 40, f"/o/{n}") for n in range(500)]
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        page = render(build_map(MapContent("found", "Offers", markers, listed_beside=True), places=gazetteer))
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.5
    assert len(page) < 250_000
