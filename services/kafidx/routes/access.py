"""Who may come in: HTTP Basic for everything, the socket's upgrade included; and what every answer says to browsers."""

import base64
import binascii
import hmac
from typing import Final

from prometheus_client import Counter
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kafidx.settings import Settings, is_loopback

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_CHALLENGE: Final = 'Basic realm="kafidx", charset="UTF-8"'


class Guard:
    """Refuses before anything behind it is asked: no page is made and no reader opened for a stranger."""

    def __init__(self, app: ASGIApp, settings: Settings, refused: Counter) -> None:
        self._app = app
        self._user = settings.user.encode()
        self._password = None if settings.password is None else settings.password.get_secret_value().encode()
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request or an upgrade pass, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
                headers.setdefault("Cache-Control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
            await send(message)

        await (self._app if refusal is None else refusal)(scope, receive, send_with_policy)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if self._password is None:
            # Without a password a name that anyone can point at this machine must not open it (DNS rebinding).
            if not is_loopback(_host_of(headers.get("host", ""))):
                return self._refuse("host", "Without a password, kafidx answers to loopback names only.", 403)
        elif not self._knows(headers.get("authorization", "")):
            return self._refuse("credentials", "User name and password are wanted.", 401)
        # A page of another site can open a socket with the credentials that the browser keeps for this one.
        origin = headers.get("origin")
        if scope["type"] == "websocket" and origin is not None and not _same_origin(origin, headers.get("host", "")):
            return self._refuse("origin", "Sockets are for kafidx's own pages.", 403)
        return None

    def _refuse(self, reason: str, text: str, status: int) -> ASGIApp:
        self._refused.labels(reason).inc()
        challenge = {"WWW-Authenticate": _CHALLENGE} if status == 401 else {}  # noqa: PLR2004 - as everyone knows it
        answer = PlainTextResponse(f"{text}\n", status, headers=challenge)

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await receive()  # the request to connect
            await answer(scope, receive, send)

        return refuse

    def _knows(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        # Both are compared, each in constant time: an answer must not tell how far a guess was right.
        is_user = hmac.compare_digest(user, self._user)
        is_password = hmac.compare_digest(password, self._password or b"")
        return scheme.lower() == "basic" and bool(colon) and is_user and is_password


def _host_of(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _same_origin(origin: str, host: str) -> bool:
    scheme, _, rest = origin.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme)
    return default is not None and rest.lower().removesuffix(default) == host.lower().removesuffix(default)
