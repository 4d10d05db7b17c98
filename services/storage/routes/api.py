"""The application of the public port: each path with its methods. Another method gets 405, which names them."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Response

from services.storage.core.matching import SubjectKind
from services.storage.routes import schema
from services.storage.routes.bulk import BulkRoutes
from services.storage.routes.chat import ChatRoutes
from services.storage.routes.context import ApiContext
from services.storage.routes.devices import DeviceRoutes
from services.storage.routes.errors import add_error_handlers
from services.storage.routes.geo import GeoRoutes
from services.storage.routes.objects import ObjectRoutes

_COLLECTIONS: tuple[tuple[str, SubjectKind], ...] = (("offers", "offer"), ("searches", "search"))


def create_api(context: ApiContext) -> FastAPI:
    """Build the application. The caller puts Access before it."""
    app = FastAPI(
        title="Push storage",
        description="Offers and searches at locations. State changes only by POST, PUT and DELETE.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_error_handlers(app)

    def add(method: str, path: str, endpoint: Callable[..., Any], described: schema.Operation) -> None:
        app.add_api_route(
            path,
            endpoint,
            methods=[method],
            response_class=Response,
            status_code=described["status"],
            responses={int(status): response for status, response in described["responses"].items()},
            openapi_extra={name: described[name] for name in ("parameters", "requestBody") if name in described},
            operation_id=f"{method.lower()} {path}",
        )
        if method == "GET":
            app.add_api_route(path, endpoint, methods=["HEAD"], response_class=Response, include_in_schema=False)

    for collection, kind in _COLLECTIONS:
        objects = ObjectRoutes(context, kind)
        add("GET", f"/{collection}", objects.list, schema.LIST)
        add("POST", f"/{collection}", objects.create, schema.CREATE)
        one = f"/{collection}/{{object_id}}"
        add("GET", one, objects.read, schema.READ)
        add("PUT", one, objects.change, schema.CHANGE)
        add("DELETE", one, objects.delete, schema.DELETE)
        add("POST", f"{one}/notify", objects.notify, schema.NOTIFY)
        add("POST", f"{one}/set_active/{{value}}", objects.set_active, schema.SET_ACTIVE)
    bulk = BulkRoutes(context)
    add("POST", "/bulk/offers", bulk.write, schema.BULK_WRITE)
    # An owner may contain slashes.
    add("GET", "/bulk/offers/{owner:path}", bulk.read, schema.BULK_READ)
    add("GET", "/bulk/extdata/{owner:path}", bulk.extdata, schema.BULK_EXTDATA)
    add("DELETE", "/bulk/offers/{owner:path}", bulk.delete, schema.BULK_DELETE)
    add("POST", "/bulk/notify_searchers/{owner:path}", bulk.notify_searchers, schema.BULK_NOTIFY)
    chat = ChatRoutes(context)
    add("GET", "/chat", chat.read, schema.CHAT)
    add("GET", "/chat/byids", chat.read_many, schema.CHAT_MANY)
    add("GET", "/channels/{search_id}/{offer_id}", chat.channels, schema.CHANNELS)
    add("POST", "/channels", chat.add_channel, schema.ADD_CHANNEL)
    add("POST", "/store/geo", GeoRoutes(context).move, schema.MOVE)
    add("POST", "/devices/{device}/token", DeviceRoutes(context).issue_token, schema.ISSUE_TOKEN)
    return app
