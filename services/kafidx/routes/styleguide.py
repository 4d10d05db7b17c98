"""The style guide: every shared component in every state. It is served for local use only."""

import asyncio
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse

from services.backbone.pages import Assets, Renderer
from services.backbone.pages.gazetteer import Gazetteer
from services.backbone.pages.map_view import MapAssets, MapCircle, MapContent, MapMarker, MapView, build_map
from services.kafidx.core.query import BadQuery

_THEMES: Final = ("system", "light", "dark")
_DENSITIES: Final = ("dense", "comfortable")
_SAMPLE: Final = MapContent(
    "sample-map",
    "Offers and searches in Berlin",
    markers=(
        MapMarker(52.5127, 13.3905, "offer", "Women's bike, 28 inch", href="#map-title"),
        MapMarker(52.5300, 13.4400, "offer", "Moving boxes", href="#map-title", selected=True),
        MapMarker(52.4900, 13.4300, "search", "Search: balcony plants", href="#map-title"),
        MapMarker(52.4860, 13.4560, "match", "Match: garden chair", href="#map-title"),
        MapMarker(52.5050, 13.4100, "self", "You are here"),
    ),
    circles=(MapCircle(52.5050, 13.4100, 3000, "own"), MapCircle(52.4900, 13.4300, 1500, "search")),
    when_idle=True,
)


def add_style_guide(app: FastAPI, renderer: Renderer, assets: Assets) -> None:
    """Add `/styleguide`. The parameters `theme` and `density` choose how it looks."""
    views: list[MapView] = []

    async def sample_map() -> MapView:
        if not views:
            places = await asyncio.to_thread(Gazetteer)
            leaflet = MapAssets(
                leaflet=assets.url("push/vendor/leaflet/leaflet-src.esm.js"),
                leaflet_style=assets.url("push/vendor/leaflet/leaflet.css"),
            )
            views.append(build_map(_SAMPLE, places=places, language="en", assets=leaflet))
        return views[0]

    @app.get("/styleguide", response_class=HTMLResponse)
    async def style_guide(request: Request) -> Response:
        theme = _one_of("theme", request.query_params.get("theme", "system"), _THEMES)
        density = _one_of("density", request.query_params.get("density", "dense"), _DENSITIES)
        return renderer.page(
            request.scope,
            "styleguide.html",
            theme=None if theme == "system" else theme,
            density=density,
            themes=_THEMES,
            densities=_DENSITIES,
            view=await sample_map(),
        )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadQuery(name, None, f"invalid value {value[:40]!r}. Use one of {', '.join(allowed)}.", value)
    return value
