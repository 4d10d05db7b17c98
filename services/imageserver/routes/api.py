"""The application of the public port: each path with its methods. Another method gets 405, which names them."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Response

from services.backbone.pages import Assets, Renderer
from services.imageserver.routes import schema
from services.imageserver.routes.context import ImageContext
from services.imageserver.routes.errors import add_error_handlers
from services.imageserver.routes.pages import PicturePages, add_pages, failure_page
from services.imageserver.routes.pictures import PictureRoutes
from services.imageserver.routes.uploads import UploadRoutes


def create_api(context: ImageContext, renderer: Renderer, assets: Assets) -> FastAPI:
    """Build the application: the API and the page. The caller puts the access control before it."""
    app = FastAPI(
        title="Push imageserver",
        description="Pictures in fixed sizes. Everybody reads; uploads and deletions need credentials.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )

    add_error_handlers(app, context.limits, context.metrics, failure_page(renderer))

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
    return app
