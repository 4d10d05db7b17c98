"""Access control: logins for pages and for the websocket's upgrade, and the security headers of every response."""

from collections.abc import Callable, Container, Mapping
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.backbone.pages.logins import Logins, Refusal

RefusalPage = Callable[[Scope, int, str, Mapping[str, str]], Response]
"""Makes the response for a refused request: from its scope, the status, a sentence that explains it, and headers."""


def policy(*, assets_url: str = "", tiles_host: str = "", images_url: str = "") -> str:
    """Return the Content-Security-Policy of all pages: nothing inline, and no host but this one and the given ones."""
    assets = f" {assets_url}" if assets_url else ""
    images = "".join(f" {host}" for host in (tiles_host, images_url) if host)
    return (
        f"default-src 'none'; script-src 'self'{assets}; style-src 'self'{assets}; connect-src 'self'; "
        f"img-src 'self' data:{assets}{images}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


_STRICTEST: Final = policy()
_ROLE: Final = "push.role"


def plain_refusal(_: Scope, status: int, text: str, headers: Mapping[str, str]) -> Response:
    """Make a response of one line of text."""
    return PlainTextResponse(f"{text}\n", status, headers=dict(headers))


class Guard:
    """Rejects a request without a valid login (see `Logins`) before the application sees it."""

    def __init__(  # noqa: PLR0913 - each is one property of the access
        self,
        app: ASGIApp,
        logins: Logins,
        *,
        roles: Container[str],
        open_paths: Container[str] = (),
        content_policy: str = _STRICTEST,
        refusal_page: RefusalPage = plain_refusal,
    ) -> None:
        """Protect `app`. Users of a role that is not in `roles` are refused. `role_of` returns the role of a request.

        A request for one of the `open_paths` needs no login: error pages load their style sheet from there, and a host
        in front of this one (ASSETS_URL) loads all static files.
        """
        self._app = app
        self._logins = logins
        self._roles = roles
        self._open_paths = open_paths
        self._policy = content_policy
        self._refusal_page = refusal_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)

        async def send_with_policy(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = self._policy
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if refusal is None:
            await self._app(scope, receive, send_with_policy)
            return
        if scope["type"] == "websocket":
            await receive()  # the request to connect
        response = self._refusal_page(scope, refusal.status, refusal.text, refusal.headers)
        await response(scope, receive, send_with_policy)

    def _refusal(self, scope: Scope) -> Refusal | None:
        if scope["type"] == "http" and scope["path"] in self._open_paths:
            return None
        found = self._logins.role_of(scope)
        if isinstance(found, Refusal):
            return found
        if found is not None and found not in self._roles:
            return self._logins.refuse("role", 401, "This user cannot open pages.")
        scope[_ROLE] = found
        return None


def role_of(scope: Scope) -> str | None:
    """Return the role of a request that the guard has let through. None: the service has no logins, or an open path."""
    role: str | None = scope.get(_ROLE)
    return role
