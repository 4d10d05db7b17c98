"""The application of the public port: each path with its methods. Another method gets 405, which names them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fastapi import FastAPI, Response
from starlette.types import ASGIApp

from services.backbone.pages import Assets, Renderer
from services.imageserver.routes import schema
from services.imageserver.routes.context import ImageContext
from services.imageserver.routes.errors import error_handlers
from services.imageserver.routes.pages import PicturePages, add_pages, failure_page
from services.imageserver.routes.pictures import PictureRoutes
from services.imageserver.routes.reads import create_reads
from services.imageserver.routes.uploads import UploadRoutes


class PublicApps(NamedTuple):
    """The applications of the public port. The caller puts the access control before them."""

    api: FastAPI
    """The API and the page. It also describes and serves reads."""
    reads: ASGIApp
    """Reads of pictures alone."""


def create_public_apps(context: ImageContext, renderer: Renderer, assets: Assets) -> PublicApps:
    """Build the applications."""
    app = FastAPI(
        title="Push imageserver",
        description="Pictures in fixed sizes. Everybody reads; uploads and deletions need credentials.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )

    handlers = error_handlers(app, context.limits, context.metrics, failure_page(renderer))
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)

    def add(method: str, path: str, endpoint: Callable[..., Any], described: dict[str, Any]) -> None:
        app.add_api_route(
            path,
            endpoint,
            methods=[method],
            response_class=Response,
            openapi_extra=described,
            operation_id=f"{method.lower()} {path}",
        )
        if method == "GET":
            app.add_api_route(path, endpoint, methods=["HEAD"], response_class=Response, include_in_schema=False)

    uploads, pictures = UploadRoutes(context), PictureRoutes(context)
    add("POST", "/assets/upload", uploads.upload, schema.UPLOAD)
    add("POST", "/assets/upload_with_sha/{key}", uploads.upload_with_key, schema.UPLOAD)
    add("GET", "/asset/{key}/available", pictures.available, {})
    add("POST", "/asset/{key}/delete", pictures.delete_by_post, {})
    for path in ("/assets/images/{key}", "/assets/images/{key}/{size}"):
        add("GET", path, pictures.read, {})
    add("DELETE", "/assets/images/{key}", pictures.delete, {})
    add_pages(app, PicturePages(context, renderer), assets)
    return PublicApps(app, create_reads(pictures, handlers))
