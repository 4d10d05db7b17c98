"""The application of the pages: its paths, its errors, and the paths that it takes beside the API."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Self

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pymongo.errors import ExecutionTimeout, PyMongoError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from services.backbone.logs import get_logger
from services.backbone.mongo import describe
from services.backbone.pages import Assets, Renderer
from services.backbone.pages.map_view import MapAssets
from services.backbone.pages.render import Site
from services.backbone.routing import methods_of
from services.storage.core.fields import InvalidInput
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError
from services.storage.routes.pages.details import DetailPages
from services.storage.routes.pages.lists import ListPages, sentence
from services.storage.routes.pages.maps import Maps
from services.storage.routes.pages.matches import MatchPages
from services.storage.store import CandidateFinder, Database, ObjectConflict
from services.storage.store.histories import PairHistories
from services.storage.store.owners import OwnerCounts

log = get_logger(__name__)

SITE: Final = Site(
    "storage",
    (
        ("Searches", "/store/searches"),
        ("Offers", "/store/offers"),
        ("Owners", "/store/aggregate"),
        ("Matches", "/store/matches"),
        ("API", "/openapi.json"),
    ),
    safe="A change that was not confirmed was not made.",
)
_LEAFLET: Final = "push/vendor/leaflet/"
_API_PATH: Final = "/store/geo"


class PageStores(NamedTuple):
    """What the pages read besides the stores of the API."""

    histories: PairHistories
    owners: OwnerCounts
    finder: CandidateFinder

    @classmethod
    def of(cls, database: Database) -> Self:
        """Return the stores of a database."""
        return cls(PairHistories(database), OwnerCounts(database), CandidateFinder(database))


class PagesBesideApi:
    """Sends requests for `/`, `/store` and what is below, and `/static/` to the pages, all others to the API."""

    def __init__(self, *, pages: ASGIApp, api: ASGIApp) -> None:
        self._pages = pages
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and _is_page(scope["path"])
        await (self._pages if is_page else self._api)(scope, receive, send)


def _is_page(path: str) -> bool:
    return path in ("/", "/store") or (path.startswith(("/store/", "/static/")) and path != _API_PATH)


def create_pages(context: ApiContext, stores: PageStores, renderer: Renderer, assets: Assets) -> FastAPI:
    """Build the application. The caller puts a Guard before it."""
    app = FastAPI(title="Push storage pages", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    settings = context.settings
    maps = Maps(
        MapAssets(
            leaflet=assets.url(f"{_LEAFLET}leaflet-src.esm.js"),
            leaflet_style=assets.url(f"{_LEAFLET}leaflet.css"),
            tiles=settings.map_tiles_url,
            tiles_attribution=settings.map_tiles_attribution,
        )
    )
    lists = ListPages(context, stores.owners, renderer)
    details = DetailPages(context, stores.histories, maps, renderer)
    matches = MatchPages(context, stores.histories, stores.finder, maps, renderer)

    async def searches(request: Request) -> Response:
        return await lists.objects("search", request)

    async def offers(request: Request) -> Response:
        return await lists.objects("offer", request)

    async def delete_search(object_id: str, request: Request) -> Response:
        return await details.delete("search", object_id, request)

    async def delete_offer(object_id: str, request: Request) -> Response:
        return await details.delete("offer", object_id, request)

    def add(method: str, path: str, endpoint: Callable[..., Awaitable[Response]]) -> None:
        app.add_api_route(path, endpoint, methods=[method], response_class=HTMLResponse)

    for path in ("/", "/store"):
        add("GET", path, _to_searches)
    add("GET", "/store/searches", searches)
    add("GET", "/store/offers", offers)
    add("GET", "/store/aggregate", lists.owners)
    add("GET", "/store/details/{object_id}", details.show)
    add("POST", "/store/update/subject/{object_id}", details.update)
    add("POST", "/store/set_active/{object_id}/{value}", details.set_active)
    add("POST", "/store/notify/{object_id}", details.match)
    add("POST", "/store/delete/search/{object_id}", delete_search)
    add("POST", "/store/delete/offer/{object_id}", delete_offer)
    add("GET", "/store/matches", matches.show)
    add("POST", "/store/matches", matches.send)
    add("POST", "/store/set_match", matches.choose)
    app.mount("/static", assets)
    _add_errors(app, renderer)
    return app


async def _to_searches() -> Response:
    return RedirectResponse("/store/searches", 307)


def _add_errors(app: FastAPI, renderer: Renderer) -> None:
    """Turn each exception of the routes into an error page, or into one line for a client that is no browser."""

    async def failed(request: Request, error: Exception) -> Response:
        status, reason, headers = _described(app, request, error)
        return renderer.refusal(request.scope, status, reason, headers)

    for kind in (InvalidInput, ApiError, PyMongoError, ObjectConflict, HTTPException, Exception):
        app.add_exception_handler(kind, failed)


def _described(app: FastAPI, request: Request, error: Exception) -> tuple[int, str, dict[str, str]]:
    """Return the status, the reason and the headers of a failed request."""
    found: tuple[int, str, dict[str, str]]
    match error:
        case InvalidInput():
            found = 422, sentence(str(error)), {}
        case ApiError():
            found = error.status, sentence(str(error)), {}
        case ExecutionTimeout():
            found = 503, "The database did not finish this within 10 s. Choose fewer objects by a filter.", {}
        case PyMongoError():
            log.warning("database_failed", route=request.scope["route"].path, error=describe(error))
            found = 503, "The database does not respond.", {"Retry-After": "1"}
        case ObjectConflict():
            found = 503, "Other writers changed this at each attempt.", {"Retry-After": "1"}
        case HTTPException(status_code=405):
            methods = ", ".join(methods_of(app, request))
            found = 405, f"{request.method} is not allowed at this address. Use {methods}.", {"Allow": methods}
        case HTTPException():
            found = error.status_code, error.detail, {}
        case _:
            found = 500, "storage could not make this page.", {}
    return found
