"""What stands before the pages of a service: the guard, and the middleware that finds the address of a client."""

from collections.abc import Container, Mapping
from typing import Any, Protocol

from prometheus_client import Counter
from pydantic import SecretStr
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from services.backbone.pages.guard import Guard, policy
from services.backbone.pages.logins import Login, Logins
from services.backbone.pages.render import Renderer
from services.backbone.settings import Networks


class ProtectedSettings(Protocol):
    """The settings of a service with pages (PageSettings, ProxySettings)."""

    @property
    def assets_url(self) -> str:
        """The origin of another host for static files, or empty."""

    @property
    def trusted_proxies(self) -> Networks:
        """The networks of proxies whose headers name the client."""


def login_of(user: str, password: SecretStr | None) -> Login | None:
    """Return the login of settings, or None without a password: the service is then on loopback only."""
    return None if password is None else Login(user.encode(), password.get_secret_value().encode())


def protected(  # noqa: PLR0913 - what differs between services
    app: Any,
    name: str,
    logins: Mapping[str, Login | None],
    *,
    refused: Counter,
    open_paths: Container[str],
    renderer: Renderer,
    settings: ProtectedSettings,
) -> Any:
    """Wrap an application. `logins` are by role, and `open_paths` need none; `refused` counts refusals by reason.

    The types are Any, because uvicorn and starlette use different types for an ASGI application.
    """
    known = {role: login for role, login in logins.items() if login is not None}
    guard: Any = Guard(
        app,
        Logins(name, known, refused),
        roles=set(logins),
        open_paths=open_paths,
        content_policy=policy(assets_url=settings.assets_url),
        refusal_page=renderer.refusal,
    )
    return ProxyHeadersMiddleware(guard, trusted_hosts=[str(network) for network in settings.trusted_proxies])
