"""Access: everybody reads; services do all; phones upload."""

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.backbone.pages.guard import role_of
from services.imageserver.metrics import Metrics
from services.imageserver.routes.errors import failure_response

SERVICE_ROLE: Final = "service"
APP_ROLE: Final = "app"
"""The role of the credentials that all phones share."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE"})
_OF_PHONES: Final = frozenset({("POST", "/assets/upload")})


class PublicReads:
    """Sends the requests of readers to the application, and all others to the guard. Counts the responses of both."""

    def __init__(self, app: ASGIApp, guard: ASGIApp, metrics: Metrics) -> None:
        self._app = app
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

        app = self._app if _is_public(scope["method"], scope["path"]) else self._guard
        await app(scope, receive, send_counted)


def _is_public(method: str, path: str) -> bool:
    """Return whether everybody may send this: reads of pictures, and the old GET of a deletion, which is a 405."""
    return method in ("GET", "HEAD") and path.startswith(("/assets/images/", "/asset/"))


class UploadsOfPhones:
    """Lets phones upload and nothing else. It stands behind the guard."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if role_of(scope) == APP_ROLE and (scope["method"], scope["path"]) not in _OF_PHONES:
            refusal = failure_response(403, "forbidden", "Phones may only POST /assets/upload.")
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
