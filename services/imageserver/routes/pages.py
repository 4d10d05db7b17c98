"""The page of operators: the list of pictures, uploads by drop, and deletions."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from services.backbone.pages import Assets, Renderer
from services.backbone.pages.render import Site
from services.imageserver.core.keys import image_path
from services.imageserver.core.limits import SAFE_PIXELS
from services.imageserver.core.listing import AssetCursor, InvalidListRequest, parse_query
from services.imageserver.core.sizes import SIZES
from services.imageserver.routes.context import ImageContext

SITE: Final = Site(
    "imageserver",
    (("Pictures", "/assets"), ("API", "/openapi.json")),
    safe="A picture whose upload was confirmed is stored.",
)
_API_PATHS: Final = ("/assets/", "/asset/")
_SUM_AGE_MS: Final = 60_000
_FORM: Final = re.compile(r"/asset/[^/]+/delete")
"""The path of the form that deletes a picture. Services use it too."""


class PicturePages:
    """The list of pictures."""

    def __init__(self, context: ImageContext, renderer: Renderer) -> None:
        self._context = context
        self._renderer = renderer
        self._stored_bytes: int | None = None
        self._sum_due_ms = 0

    async def list(self, request: Request) -> Response:
        """Show the pictures, newest first. `q`, `date`, `per_page`, and the cursor `after`."""
        parameters = dict(request.query_params)
        kept = {name: parameters.get(name, "") for name in ("q", "date", "per_page")}
        frame: dict[str, Any] = {
            "parameters": kept,
            "limits": self._context.limits,
            "safe_pixels": SAFE_PIXELS,
            "sizes": SIZES,
            "path_of": image_path,
        }
        try:
            query = parse_query(parameters)
        except InvalidListRequest as error:
            return self._renderer.page(
                request.scope, "pictures.html", 422, error=str(error), assets=[], urls={}, **frame
            )
        found = await self._context.assets.page(query._replace(per_page=query.per_page + 1))
        shown = found[: query.per_page]
        given = {name: value for name, value in kept.items() if value}
        urls = {"first": _url(given) if query.after else ""}
        urls["next"] = _url(given, after=str(AssetCursor.of(shown[-1]))) if len(found) > len(shown) else ""
        count, stored_bytes = await self._context.assets.count(), await self._sum()
        return self._renderer.page(
            request.scope,
            "pictures.html",
            assets=shown,
            count=count,
            stored_bytes=stored_bytes,
            urls=urls,
            error="",
            **frame,
        )

    async def _sum(self) -> int | None:
        """Return the size of all files, up to a minute old: the database reads all assets for it."""
        now_ms = self._context.now_ms()
        if now_ms >= self._sum_due_ms:
            self._stored_bytes = await self._context.assets.stored_bytes()
            self._sum_due_ms = now_ms + _SUM_AGE_MS
        return self._stored_bytes


def add_pages(app: FastAPI, pages: PicturePages, assets: Assets) -> None:
    """Add the routes of the pages and of their static files."""

    async def to_list() -> Response:
        return RedirectResponse("/assets", 307)

    def add(path: str, endpoint: Callable[..., Any]) -> None:
        app.add_api_route(path, endpoint, methods=["GET"], response_class=HTMLResponse, include_in_schema=False)

    add("/", to_list)
    add("/assets", pages.list)
    app.mount("/static", assets)


def failure_page(renderer: Renderer) -> Callable[[Request, int, str, Mapping[str, str]], Response | None]:
    """Return a function that makes the error page for a browser that requests a page or sends the form of one.

    For all other requests the function returns None.
    """

    def respond(request: Request, status: int, text: str, headers: Mapping[str, str]) -> Response | None:
        path = request.url.path
        is_page = not path.startswith(_API_PATHS) or _FORM.fullmatch(path) is not None
        if is_page and "text/html" in request.headers.get("accept", ""):
            return renderer.error(request.scope, status, text, headers)
        return None

    return respond


def _url(kept: Mapping[str, str], **more: str) -> str:
    query = urlencode({**kept, **more})
    return f"/assets?{query}" if query else "/assets"
