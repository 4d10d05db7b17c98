"""Logins: finds the user of a request by HTTP Basic, and refuses requests that browsers send for other sites."""

import base64
import binascii
import hmac
import math
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from prometheus_client import Counter
from starlette.datastructures import Headers
from starlette.types import Scope

from services.backbone.pages.failed_logins import FailedLogins, source_of
from services.backbone.settings import is_loopback

_UNAUTHORISED: Final = 401
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Login(NamedTuple):
    """A user name and a password."""

    user: bytes
    password: bytes


class Refusal(NamedTuple):
    """The response to a refused request."""

    reason: str
    """host, origin, credentials (missing), password (wrong), delayed (not checked after wrong passwords), or a reason
    of the service."""
    status: int
    text: str
    """A sentence that explains it."""
    headers: Mapping[str, str]


class Logins:
    """The logins of a service by role.

    After wrong passwords a source (`source_of` the peer's address) gets 429 for a growing time, in which its passwords
    are not checked. The responses are not delayed, since each delayed one would keep a connection open. Other sources
    are not affected, so an attacker cannot lock out an operator at another address.
    """

    def __init__(self, name: str, by_role: Mapping[str, Login], refused: Counter) -> None:
        """`name` is the service. Without logins only loopback host names are allowed.

        `refused` counts refusals. It has one label, the reason.
        """
        self._name = name
        self._by_role = by_role
        self._refused = refused
        self._failed = FailedLogins()
        self._challenge = {"WWW-Authenticate": f'Basic realm="{name}", charset="UTF-8"'}

    def role_of(self, scope: Scope) -> str | Refusal | None:
        """Return the role of the user who sends a request, or why it is refused. None: the service has no logins."""
        headers = Headers(scope=scope)
        found: str | Refusal | None = None
        if self._by_role:
            found = self._authenticate(scope, headers.get("authorization", ""))
        # DNS rebinding: a page of another site can point its own host name at this machine.
        elif not is_loopback(_host_of(headers.get("host", ""))):
            found = Refusal("host", 403, f"{self._name} has no password, so it allows loopback host names only.", {})
        # A page of another site can open a socket or post a form, and the browser adds the credentials of this site.
        origin = headers.get("origin")
        is_safe = scope["type"] == "http" and scope["method"] in _SAFE_METHODS
        is_foreign = not is_safe and origin is not None and not _same_origin(origin, headers.get("host", ""))
        if is_foreign and not isinstance(found, Refusal):
            found = Refusal("origin", 403, f"Only pages of {self._name} can open its socket or change its data.", {})
        if isinstance(found, Refusal):
            self._refused.labels(found.reason).inc()
        return found

    def refuse(self, reason: str, status: int, text: str) -> Refusal:
        """Count a refusal that the caller decides, and return it. With a 401, browsers ask for another login."""
        self._refused.labels(reason).inc()
        return Refusal(reason, status, text, self._challenge if status == _UNAUTHORISED else {})

    def _authenticate(self, scope: Scope, authorization: str) -> str | Refusal:
        given = _basic(authorization)
        if given is None:
            return Refusal("credentials", _UNAUTHORISED, "A user name and a password are required.", self._challenge)
        source, now_s = source_of((scope.get("client") or ("",))[0]), time.monotonic()
        if (wait_s := math.ceil(self._failed.wait_s(source, now_s))) > 0:
            text = f"Too many wrong passwords came from {source or 'this peer'}. Try again in {wait_s} s."
            return Refusal("delayed", 429, text, {"Retry-After": str(wait_s)})
        found: str | None = None
        for role, login in self._by_role.items():
            # Always compare all in constant time. Otherwise the response time shows which part of a guess is right.
            is_user = hmac.compare_digest(given.user, login.user)
            is_password = hmac.compare_digest(given.password, login.password)
            found = role if is_user and is_password else found
        if found is None:
            self._failed.record(source, now_s)
            return Refusal("password", _UNAUTHORISED, "The user name or the password is wrong.", self._challenge)
        return found  # the failures are kept, since other users may share this address


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
