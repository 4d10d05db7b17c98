"""Access to pages: HTTP Basic for all of them and for a websocket's upgrade, and the policies in every response.

It knows nothing of kafidx, whose pages are its first.
"""

import base64
import binascii
import hmac
import math
import time
from typing import Final, NamedTuple

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.backbone.settings import is_loopback
from services.kafidx.core.failed_logins import FailedLogins, source_of

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Login(NamedTuple):
    """A user name and a password."""

    user: bytes
    password: bytes


class Guard:
    """Refuses before anything behind it is asked: no page is made and no reader opened for a stranger.

    After wrong passwords the source of a request (`source_of` the peer of the scope) is refused with 429 for a growing
    time, and its passwords are not looked at. No request is held for that time: a stranger would choose how many
    connections are open. Other sources are not affected, so nobody can lock out an operator who is elsewhere.
    """

    def __init__(self, app: ASGIApp, *, name: str, login: Login | None, refused: Counter) -> None:
        """Protect `app`. Without a login it responds to loopback names only. `refused` has one label, the reason."""
        self._app = app
        self._name = name
        self._login = login
        self._refused = refused
        self._failed = FailedLogins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request or an upgrade pass, or respond to it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)

        async def send_with_policy(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                headers.setdefault("Cache-Control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
            await send(message)

        await (self._app if refusal is None else refusal)(scope, receive, send_with_policy)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if self._login is None:
            # Without a password a name that anyone can point at this machine must not open it (DNS rebinding).
            if not is_loopback(_host_of(headers.get("host", ""))):
                return self._refuse("host", f"Without a password, {self._name} responds to loopback names only.", 403)
        elif (refusal := self._check(self._login, scope, headers.get("authorization", ""))) is not None:
            return refusal
        # A page of another site can open a socket with the credentials that the browser keeps for this one.
        origin = headers.get("origin")
        if scope["type"] == "websocket" and origin is not None and not _same_origin(origin, headers.get("host", "")):
            return self._refuse("origin", f"Sockets are for {self._name}'s own pages.", 403)
        return None

    def _check(self, login: Login, scope: Scope, authorization: str) -> ASGIApp | None:
        challenge = {"WWW-Authenticate": f'Basic realm="{self._name}", charset="UTF-8"'}
        given = _basic(authorization)
        if given is None:
            return self._refuse("credentials", "A user name and a password are needed.", 401, challenge)
        source, now_s = source_of((scope.get("client") or ("",))[0]), time.monotonic()
        if (wait_s := math.ceil(self._failed.wait_s(source, now_s))) > 0:
            text = f"Too many wrong passwords came from {source or 'this peer'}. Try again in {wait_s} s."
            return self._refuse("delayed", text, 429, {"Retry-After": str(wait_s)})
        # Both are compared, each in constant time: a response must not tell how far a guess was right.
        is_user = hmac.compare_digest(given.user, login.user)
        is_password = hmac.compare_digest(given.password, login.password)
        if is_user and is_password:
            return None  # earlier failures stay: others may share this address
        self._failed.record(source, now_s)
        return self._refuse("password", "The user name or the password is wrong.", 401, challenge)

    def _refuse(self, reason: str, text: str, status: int, headers: dict[str, str] | None = None) -> ASGIApp:
        self._refused.labels(reason).inc()
        response = PlainTextResponse(f"{text}\n", status, headers=headers)

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await receive()  # the request to connect
            await response(scope, receive, send)

        return refuse


def _basic(authorization: str) -> Login | None:
    """Return the user name and password of an Authorization header; None when it holds none (RFC 7617)."""
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
