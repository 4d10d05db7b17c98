"""Access: HTTP Basic for services and phones, and the tokens of devices.

It finds the caller of a request before the application sees it. The rights of a caller are in `core.access`.
"""

import time
from typing import Final

from pymongo.errors import PyMongoError
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.backbone.pages import Logins, Refusal
from services.storage.core.access import Caller, Role
from services.storage.metrics import ApiMetrics
from services.storage.routes.errors import error_response
from services.storage.routes.requests import CALLER
from services.storage.store.database_time import measure_database_time
from services.storage.store.devices import DeviceTokens

TOKEN_HEADER: Final = "X-Device-Token"  # noqa: S105 - the name of a header
_MAX_TOKEN_CHARACTERS: Final = 256
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})


class Access:
    """Rejects a request without valid credentials (see `Logins`), or with an unknown token."""

    def __init__(self, app: ASGIApp, logins: Logins, *, devices: DeviceTokens, metrics: ApiMetrics) -> None:
        """Protect `app`. The roles are those of `core.access`. Without logins each caller is a service."""
        self._app = app
        self._logins = logins
        self._devices = devices
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        begun_s = time.perf_counter()
        database = measure_database_time()

        async def send_measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
                self._metrics.requests.labels(method, str(message["status"])).inc()
                seconds = time.perf_counter() - begun_s
                self._metrics.seconds.labels(method).observe(seconds)
                self._metrics.own_seconds.labels(method).observe(max(0.0, seconds - database.seconds))
            await send(message)

        found = await self._find_caller(scope)
        if isinstance(found, Response):
            await found(scope, receive, send_measured)
            return
        scope[CALLER] = found
        await self._app(scope, receive, send_measured)

    async def _find_caller(self, scope: Scope) -> Caller | Response:
        found = self._logins.role_of(scope)
        if isinstance(found, Refusal):
            return _response(found)
        role: Role = "service" if found in (None, "service") else "app"
        token = Headers(scope=scope).get(TOKEN_HEADER)
        if token is None:
            return Caller(role)
        try:
            owner = await self._devices.owner_of(token) if len(token) <= _MAX_TOKEN_CHARACTERS else None
        except PyMongoError:
            return error_response(503, "unavailable", "the database does not respond", headers={"Retry-After": "1"})
        if owner is None:
            return _response(self._logins.refuse("token", 401, f"{TOKEN_HEADER} is not the token of a device."))
        return Caller(role, owner)


def _response(refusal: Refusal) -> Response:
    return error_response(refusal.status, refusal.reason, refusal.text, headers=dict(refusal.headers))
