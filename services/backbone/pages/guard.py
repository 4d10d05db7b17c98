"""Access control: HTTP Basic for pages and for the websocket's upgrade, and the security headers of every response."""

import base64
import binascii
import hmac
import math
import time
from collections.abc import Callable, Container, Mapping
from typing import Final, NamedTuple

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.backbone.pages.failed_logins import FailedLogins, source_of
from services.backbone.settings import is_loopback

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
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def plain_refusal(_: Scope, status: int, text: str, headers: Mapping[str, str]) -> Response:
    """Make a response of one line of text."""
    return PlainTextResponse(f"{text}\n", status, headers=dict(headers))


class Login(NamedTuple):
    """A user name and a password."""

    user: bytes
    password: bytes


class Guard:
    """Rejects a request without valid credentials before the application sees it.

    After wrong passwords a source (`source_of` the peer's address) gets 429 for a growing time, in which its passwords
    are not checked. The responses are not delayed, since each delayed one would keep a connection open. Other sources
    are not affected, so an attacker cannot lock out an operator at another address.
    """

    def __init__(  # noqa: PLR0913 - each is one property of the access
        self,
        app: ASGIApp,
        *,
        name: str,
        login: Login | None,
        refused: Counter,
        open_paths: Container[str] = (),
        content_policy: str = _STRICTEST,
        refusal_page: RefusalPage = plain_refusal,
    ) -> None:
        """Protect `app`. Without a login only loopback host names are allowed.

        `refused` has one label, the reason. A request for one of the `open_paths` needs no login: error pages load
        their style sheet from there, and a host in front of this one (ASSETS_URL) loads all static files.
        """
        self._app = app
        self._name = name
        self._login = login
        self._refused = refused
        self._failed = FailedLogins()
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

        await (self._app if refusal is None else refusal)(scope, receive, send_with_policy)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        if scope["type"] == "http" and scope["path"] in self._open_paths:
            return None
        headers = Headers(scope=scope)
        if self._login is None:
            # DNS rebinding: a page of another site can point its own host name at this machine.
            if not is_loopback(_host_of(headers.get("host", ""))):
                return self._refuse(
                    "host", f"{self._name} has no password, so it allows loopback host names only.", 403
                )
        elif (refusal := self._check(self._login, scope, headers.get("authorization", ""))) is not None:
            return refusal
        # A page of another site can open a socket or post a form, and the browser adds the credentials of this site.
        origin = headers.get("origin")
        is_safe = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
        if not is_safe and origin is not None and not _same_origin(origin, headers.get("host", "")):
            return self._refuse("origin", f"Only pages of {self._name} can open its socket or change its data.", 403)
        return None

    def _check(self, login: Login, scope: Scope, authorization: str) -> ASGIApp | None:
        challenge = {"WWW-Authenticate": f'Basic realm="{self._name}", charset="UTF-8"'}
        given = _basic(authorization)
        if given is None:
            return self._refuse("credentials", "A user name and a password are required.", 401, challenge)
        source, now_s = source_of((scope.get("client") or ("",))[0]), time.monotonic()
        if (wait_s := math.ceil(self._failed.wait_s(source, now_s))) > 0:
            text = f"Too many wrong passwords came from {source or 'this peer'}. Try again in {wait_s} s."
            return self._refuse("delayed", text, 429, {"Retry-After": str(wait_s)})
        # Always compare both in constant time. Otherwise the response time shows which part of a guess is right.
        is_user = hmac.compare_digest(given.user, login.user)
        is_password = hmac.compare_digest(given.password, login.password)
        if is_user and is_password:
            return None  # the failures are kept, since other users may share this address
        self._failed.record(source, now_s)
        return self._refuse("password", "The user name or the password is wrong.", 401, challenge)

    def _refuse(self, reason: str, text: str, status: int, headers: dict[str, str] | None = None) -> ASGIApp:
        self._refused.labels(reason).inc()

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await receive()  # the request to connect
            await self._refusal_page(scope, status, text, headers or {})(scope, receive, send)

        return refuse


def _basic(authorization: str) -> Login | None:
    """Return the user name and password of an Authorization header, or None without valid ones (RFC 7617)."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return Login(user, password) if scheme.lower() == "basic" and colon else None


def _host_of(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _same_origin(origin: str, host: str) -> bool:
    scheme, _, rest = origin.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme)
    return default is not None and rest.lower().removesuffix(default) == host.lower().removesuffix(default)
