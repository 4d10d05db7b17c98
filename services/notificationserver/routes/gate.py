"""Gate: what phones may call, and the metric of all responses."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.backbone.pages.guard import role_of
from services.notificationserver.metrics import Metrics
from services.notificationserver.routes.requests import RequestFailed, failure_response

APP_ROLE: Final = "app"
"""The role of the credentials that all phones share."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
_OF_PHONES: Final = frozenset({("POST", "/register")})


class Gate:
    """Lets phones register and nothing else, and counts responses."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(method, str(message["status"])).inc()
            await send(message)

        if role_of(scope) == APP_ROLE and (scope["method"], scope["path"]) not in _OF_PHONES:
            refusal = failure_response(RequestFailed(403, "forbidden", "phones may only POST /register"))
            await refusal(scope, receive, send_counted)
            return
        await self._app(scope, receive, send_counted)
