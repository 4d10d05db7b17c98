"""Access: HTTP Basic for services and phones, and the tokens of devices.

It finds the caller of a request before the application sees it. The rights of a caller are in `core.access`.
"""

import base64
import binascii
import hmac
import math
import time
from typing import Final, NamedTuple

from pymongo.errors import PyMongoError
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.backbone.pages.failed_logins import FailedLogins, source_of
from services.backbone.settings import is_loopback
from services.storage.core.access import Caller, Role
from services.storage.metrics import ApiMetrics
from services.storage.routes.errors import error_response
from services.storage.routes.requests import CALLER
from services.storage.store.database_time import measure_database_time
from services.storage.store.devices import DeviceTokens

TOKEN_HEADER: Final = "X-Device-Token"  # noqa: S105 - the name of a header
_MAX_TOKEN_CHARACTERS: Final = 256
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Credentials(NamedTuple):
    """A user name and a password, and the role that they give."""

    role: Role
    user: bytes
    password: bytes


class Access:
    """Rejects a request without valid credentials.

    After wrong passwords a source (`source_of` the peer's address) gets 429 for a growing time, in which its passwords
    are not checked. Other sources are not affected.
    """

    def __init__(
        self, app: ASGIApp, *, credentials: tuple[Credentials, ...], devices: DeviceTokens, metrics: ApiMetrics
    ) -> None:
        """Protect `app`. Without credentials only loopback host names are allowed, and each caller is a service."""
        self._app = app
        self._credentials = credentials
        self._devices = devices
        self._metrics = metrics
        self._failed = FailedLogins()

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
        headers = Headers(scope=scope)
        role = self._role(scope, headers)
        if isinstance(role, Response):
            return role
        # A browser sends the credentials that it stores for this host also for a page of another host.
        origin = headers.get("origin")
        if scope["method"] not in _SAFE_METHODS and origin is not None and _host(origin) != headers.get("host", ""):
            return self._refuse("origin", 403, "pages of other hosts cannot change anything here")
        token = headers.get(TOKEN_HEADER)
        if token is None:
            return Caller(role)
        try:
            owner = await self._devices.owner_of(token) if len(token) <= _MAX_TOKEN_CHARACTERS else None
        except PyMongoError:
            return error_response(503, "unavailable", "the database does not respond", headers={"Retry-After": "1"})
        if owner is None:
            return self._refuse("token", 401, f"{TOKEN_HEADER} is not the token of a device")
        return Caller(role, owner)

    def _role(self, scope: Scope, headers: Headers) -> Role | Response:
        if not self._credentials:
            # DNS rebinding: a page of another site can point its own host name at this machine.
            if not is_loopback(headers.get("host", "").rpartition(":")[0] or headers.get("host", "")):
                return self._refuse("host", 403, "storage has no password, so it allows loopback host names only")
            return "service"
        challenge = {"WWW-Authenticate": 'Basic realm="storage", charset="UTF-8"'}
        given = _basic(headers.get("authorization", ""))
        if given is None:
            return self._refuse("credentials", 401, "a user name and a password are required", challenge)
        source, now_s = source_of((scope.get("client") or ("",))[0]), time.monotonic()
        if (wait_s := math.ceil(self._failed.wait_s(source, now_s))) > 0:
            text = f"too many wrong passwords came from {source or 'this peer'}; try again in {wait_s} s"
            return self._refuse("delayed", 429, text, {"Retry-After": str(wait_s)})
        role: Role | None = None
        for each in self._credentials:
            # Always compare all in constant time. Otherwise the response time shows which part of a guess is right.
            is_user = hmac.compare_digest(given[0], each.user)
            is_password = hmac.compare_digest(given[1], each.password)
            role = each.role if is_user and is_password else role
        if role is None:
            self._failed.record(source, now_s)
            return self._refuse("password", 401, "the user name or the password is wrong", challenge)
        return role

    def _refuse(self, reason: str, status: int, text: str, headers: dict[str, str] | None = None) -> Response:
        self._metrics.refused.labels(reason).inc()
        return error_response(status, reason, text, headers=headers)


def _basic(authorization: str) -> tuple[bytes, bytes] | None:
    """Return the user name and password of an Authorization header, or None without valid ones (RFC 7617)."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if scheme.lower() == "basic" and colon else None


def _host(origin: str) -> str:
    scheme, _, rest = origin.partition("://")
    return rest.lower().removesuffix({"http": ":80", "https": ":443"}.get(scheme, ":"))
