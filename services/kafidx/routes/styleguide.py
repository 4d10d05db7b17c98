"""The style guide: every shared component in every state. It is served for local use only."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse

from services.backbone.pages import Renderer
from services.kafidx.core.query import BadQuery

_THEMES = ("system", "light", "dark")
_DENSITIES = ("dense", "comfortable")


def add_style_guide(app: FastAPI, renderer: Renderer) -> None:
    """Add `/styleguide`; `?theme=` and `?density=` choose how it looks."""

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
        )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadQuery(name, None, f"invalid value {value[:40]!r}. Use one of {', '.join(allowed)}.", value)
    return value
