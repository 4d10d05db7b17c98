"""The application of the public port: each path with its methods. Another method gets 405, which names them."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse

from services.backbone.logs import get_logger
from services.backbone.mongo import describe
from services.backbone.pages import Assets, Renderer
from services.backbone.routing import methods_of
from services.notificationserver.routes import schema
from services.notificationserver.routes.context import NotifyContext
from services.notificationserver.routes.notify import NotifyRoutes
from services.notificationserver.routes.pages import DeadPages, DevicePages, MessagePages, PageContext, add_pages
from services.notificationserver.routes.register import RegisterRoutes
from services.notificationserver.routes.requests import RequestFailed, failure_response, json_response, wants_page
from services.notificationserver.store.mappings import MappingConflict

log = get_logger(__name__)

_METHOD_NOT_ALLOWED: Final = 405
_SOON: Final = {"Retry-After": "1"}


def create_public_app(context: NotifyContext, page_context: PageContext, assets: Assets) -> FastAPI:
    """Build the application: the API and the pages. The caller puts the guard and the gate before it."""
    app = FastAPI(
        title="Push notificationserver",
        description="Registrations, matches, free texts and chat webhooks. State changes only by POST.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_error_handlers(app, page_context.renderer)

    def add(method: str, path: str, endpoint: Callable[..., Any], described: dict[str, Any]) -> None:
        app.add_api_route(
            path,
            endpoint,
            methods=[method],
            response_class=Response,
            openapi_extra=described,
            operation_id=f"{method.lower()} {path}",
        )

    notify = NotifyRoutes(context)
    add("POST", "/notify", notify.match, schema.NOTIFY)
    add("POST", "/notification", notify.free_text, schema.NOTIFICATION)
    add("POST", "/sendbird/{rest:path}", notify.chat, schema.SENDBIRD)
    add("POST", "/register", RegisterRoutes(context).register, schema.REGISTER)

    devices, messages, dead = DevicePages(page_context), MessagePages(page_context), DeadPages(page_context)
    add_pages(
        app,
        {
            "GET /": ("home", _to_mappings),
            "GET /mappings": ("mappings", devices.list),
            "GET /mapping/{ref}": ("device", devices.show),
            "GET /mapping/{ref}/clone": ("clone", devices.clone),
            "POST /mapping/{ref}/delete": ("delete", devices.delete),
            "POST /mapping/{ref}/activate": ("activate", devices.activate),
            "GET /register": ("register form", devices.form),
            "GET /notification/{ref}": ("text form", devices.text_form),
            "POST /notification/{ref}": ("text", notify.text_of_page),
            "GET /messages": ("messages", messages.list),
            "GET /timeline/{notification_id}": ("timeline", messages.timeline),
            "GET /dead": ("dead list", dead.list),
            "POST /dead/replay": ("replay", dead.replay),
        },
    )
    app.mount("/static", assets)
    return app


async def _to_mappings() -> Response:
    return RedirectResponse("/mappings", 307)


def _add_error_handlers(app: FastAPI, renderer: Renderer) -> None:
    """Turn each exception of the routes into its response: a page for a browser, else JSON."""

    def respond(request: Request, failure: RequestFailed) -> Response:
        if not wants_page(request):
            return failure_response(failure)
        text = str(failure)
        return renderer.error(request.scope, failure.status, text[:1].upper() + text[1:], failure.headers)

    async def failed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestFailed)  # noqa: S101 - for mypy
        return respond(request, error)

    async def unavailable(request: Request, error: Exception) -> Response:
        assert isinstance(error, PyMongoError)  # noqa: S101 - for mypy
        # Not the path of the request: it may have a device id.
        log.warning("database_failed", route=request.scope["route"].path, error=describe(error))
        failure = RequestFailed(503, "unavailable", "the database does not respond; try again", headers=_SOON)
        return respond(request, failure)

    async def conflict(request: Request, error: Exception) -> Response:
        return respond(request, RequestFailed(503, "busy", str(error), headers=_SOON))

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # the client has disconnected and gets no response

    async def not_served(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        if error.status_code != _METHOD_NOT_ALLOWED:
            detail = f"there is nothing at {request.url.path}"
            return respond(request, RequestFailed(error.status_code, "not_found", detail))
        methods = ", ".join(methods_of(app, request))
        detail = f"{request.method} is not allowed here. Use {methods}."
        if wants_page(request):
            return renderer.error(request.scope, 405, detail, {"Allow": methods})
        content = {"status": "error", "error": "method_not_allowed", "detail": detail}
        return json_response(content, 405, {"Allow": methods})

    app.add_exception_handler(RequestFailed, failed)
    app.add_exception_handler(PyMongoError, unavailable)
    app.add_exception_handler(MappingConflict, conflict)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(HTTPException, not_served)
