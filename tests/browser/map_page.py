"""A page with a map and nothing else, on a server of its own, with the strict policy of the pages."""

import asyncio
import mimetypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jinja2
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone.pages import map_view
from services.backbone.pages.gazetteer import Gazetteer
from services.backbone.pages.map_view import MapAssets, MapCircle, MapContent, MapMarker, build_map

PAGES = Path(map_view.__file__).parent
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:"
HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
# The tokens of push.css that map.css uses.
TOKENS = """
:root {
  color-scheme: light dark;
  --ground: light-dark(#f7f8f9, #111518); --surface: light-dark(#ffffff, #181d21);
  --paper: light-dark(#eceff0, #151a1e); --line: light-dark(#dce1e5, #2b343a);
  --text: light-dark(#1a2126, #dfe5e9); --quiet: light-dark(#55626c, #97a5af);
  --accent: light-dark(#0b6b63, #5fcfc2); --search: light-dark(#4a4bb8, #aeb4ff);
  --match: light-dark(#94276f, #f29ccf); --size-map: 0.75rem;
  --space-1: 4px; --space-2: 8px; --space-3: 12px; --space-4: 16px; --space-5: 24px; --space-6: 32px; --space-7: 48px;
  font: 16px/1.5 system-ui, sans-serif;
}
*, *::before, *::after { box-sizing: border-box; }
body { margin: 16px; background: var(--ground); color: var(--text); }
main { max-width: 76rem; margin: auto; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.column { max-width: 676px; }
"""
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Map</title>
<meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="/tokens.css"><link rel="stylesheet" href="/static/map.css">
{% if script %}<script type="module" src="/static/map.js"></script>{% endif %}
{% from "map.html" import map %}
<main class="{{ 'column' if narrow }}"><h1>Near you</h1>{{ map(view) }}<p>After the map</p></main></html>"""


def near_berlin(*, when_idle: bool = False, listed_beside: bool = False) -> MapContent:
    """Return 21 offers in Berlin, with a search, a match, and a title that tries to become markup."""
    near = [MapMarker(52.515 + n / 9000, 13.40 + n % 4 / 4000, "offer", f"Offer {n}", f"#o-{n}") for n in range(14)]
    far = [(52.541, 13.33), (52.535, 13.43), (52.519, 13.47), (52.541, 13.53), (52.49, 13.37), (52.483, 13.455)]
    markers = [
        *near,
        *(MapMarker(latitude, longitude, "offer", HOSTILE, "#far") for latitude, longitude in far[:5]),
        # 20 px beside the one before, in the wide drawing: they are a cluster of two.
        MapMarker(52.49, 13.376, "offer", "Offer 14", "#o-14"),
        MapMarker(*far[5], "offer", "Selected", "#selected", selected=True),
        MapMarker(52.501, 13.446, "match", "Women's bike", "#match"),
        MapMarker(52.503, 13.432, "search", "Your search"),
        MapMarker(52.506, 13.418, "self", "You"),
    ]
    circles = [MapCircle(52.51, 13.40, 4000, "own"), MapCircle(52.503, 13.432, 2200, "search")]
    return MapContent("near", "Offers near Berlin", markers, circles, listed_beside=listed_beside, when_idle=when_idle)


def near_the_antimeridian() -> MapContent:
    """Return offers on both sides of the antimeridian, in Fiji."""
    markers = [
        MapMarker(-16.8, 179.9, "offer", "West", "#west"),
        MapMarker(-16.7, -179.95, "match", "East", "#east"),
        MapMarker(-16.75, -180.0, "self", "You"),
    ]
    return MapContent("near", "Offers in Fiji", markers, [MapCircle(-16.75, 179.99, 15_000, "own")])


def create_app(gazetteer: Gazetteer, *, tiles: str = "") -> FastAPI:
    """Return the app: the page at /, its variants by query, and the static files."""
    app = FastAPI(openapi_url=None)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.from_string(_PAGE)
    leaflet = "/static/vendor/leaflet/"

    @app.get("/")
    def show(
        *, idle: bool = False, tiled: bool = False, broken: bool = False, narrow: bool = False, fiji: bool = False
    ) -> HTMLResponse:
        assets = MapAssets(
            leaflet=f"{leaflet}{'gone' if broken else 'leaflet-src.esm'}.js",
            leaflet_style=f"{leaflet}leaflet.css",
            tiles=tiles if tiled else "",
            tiles_attribution="Example tiles" if tiled else "",
        )
        content = near_the_antimeridian() if fiji else near_berlin(when_idle=idle)
        view = build_map(content, places=gazetteer, assets=assets)
        text = page.render(view=view, script=True, narrow=narrow)
        return HTMLResponse(text, headers={"Content-Security-Policy": POLICY})

    @app.get("/tokens.css")
    def tokens() -> Response:
        return Response(TOKENS, media_type="text/css")

    @app.get("/tiles/{path:path}")
    def tile(path: str) -> Response:
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256"><text y="99">{path}</text></svg>'
        return Response(svg, media_type="image/svg+xml")

    @app.get("/static/{path:path}")
    def static(path: str) -> Response:
        file = PAGES / "static" / path
        if not file.is_file():
            return Response(status_code=404)
        return Response(file.read_bytes(), media_type=mimetypes.guess_type(path)[0])

    return app


@contextmanager
def serving(app: FastAPI, port: int) -> Iterator[str]:
    """Serve the app on a loopback port while the context is open. Yields its URL."""
    config = uvicorn.Config(app, host=LOOPBACK, port=port, log_level="error", ws="none", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def unused_port() -> int:
    """Return a free loopback port."""
    return free_port()
