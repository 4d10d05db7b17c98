"""The paths of the pages, and what all pages have in common."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from services.backbone.pages import Renderer
from services.backbone.pages.render import Site
from services.notificationserver.store import DeliveryStore, MappingStore, MessageStore, NotificationStore

SITE: Final = Site(
    "notificationserver",
    (("Mappings", "/mappings"), ("Messages", "/messages"), ("Dead list", "/dead"), ("API", "/openapi.json")),
    safe="A notification that got a 2xx is stored and will be delivered.",
)
PAGE_ROWS: Final = 50
_MAX_PAGE: Final = 10_000


class PageContext(NamedTuple):
    """What the pages work with."""

    mappings: MappingStore
    notifications: NotificationStore
    messages: MessageStore
    deliveries: DeliveryStore
    renderer: Renderer
    storage_url: str
    """The origin of the pages of storage; empty: no links."""
    now_ms: Callable[[], int]
    new_id: Callable[[], str]
    """Returns the id of a form: a form that is sent twice acts once."""
    wake: Callable[[], None]
    """Called after deliveries became due."""


def page_number(request: Request) -> int:
    """Return the number of the page in the query, from 1. A wrong one is the first page."""
    text = request.query_params.get("page", "1")
    return max(1, min(_MAX_PAGE, int(text))) if text.isascii() and text.isdigit() and len(text) < 9 else 1  # noqa: PLR2004


def address(path: str, **parameters: object) -> str:
    """Return a path with those parameters that are not empty."""
    query = urlencode({name: value for name, value in parameters.items() if value not in ("", None)})
    return f"{path}?{query}" if query else path


def redirect(path: str, **parameters: object) -> Response:
    """Return a redirect after a form was taken: the browser gets the page, and a reload sends nothing again."""
    return RedirectResponse(address(path, **parameters), 303)


def add_pages(app: FastAPI, pages: dict[str, tuple[str, Callable[..., Any]]]) -> None:
    """Add routes. `pages` has the endpoint by `METHOD /path`."""
    for route, (name, endpoint) in pages.items():
        method, path = route.split(" ")
        app.add_api_route(
            path, endpoint, methods=[method], response_class=HTMLResponse, include_in_schema=False, name=name
        )
