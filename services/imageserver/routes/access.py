"""Access: everybody reads; services do all; phones upload."""

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.backbone.pages.guard import role_of
from services.imageserver.metrics import Metrics
from services.imageserver.routes.api import PublicApps
from services.imageserver.routes.errors import failure_response
from services.imageserver.routes.reads import PICTURES

SERVICE_ROLE: Final = "service"
APP_ROLE: Final = "app"
"""The role of the credentials that all phones share."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE"})


class PublicReads:
    """Sends the requests of readers to the applications, and all others to the guard. Counts all responses."""

    def __init__(self, apps: PublicApps, guard: ASGIApp, metrics: Metrics) -> None:
        self._apps = apps
        self._guard = guard
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._guard(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        begun_s = time.perf_counter()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(method, str(message["status"])).inc()
                self._metrics.seconds.labels(method).observe(time.perf_counter() - begun_s)
            await send(message)

        await self._app_of(scope["method"], scope["path"])(scope, receive, send_counted)

    def _app_of(self, method: str, path: str) -> ASGIApp:
        if method not in ("GET", "HEAD"):
            return self._guard
        if path.startswith(PICTURES):
            return self._apps.reads
        # Whether a picture exists, and the old GET of a deletion, which is a 405.
        return self._apps.api if path.startswith("/asset/") else self._guard


class UploadsOfPhones:
    """Lets phones upload and nothing else. It stands behind the guard."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if role_of(scope) == APP_ROLE and (scope["method"], scope["path"]) != ("POST", "/assets/upload"):
            refusal = failure_response(403, "forbidden", "Phones may only POST /assets/upload.")
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
