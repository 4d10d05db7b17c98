"""Render the templates of a service in the common frame: header, theme, numbers, times, and error pages."""

import gzip
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import jinja2
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import Scope

from services.backbone.logs import get_logger
from services.backbone.pages import formats
from services.backbone.pages.assets import Assets, accepts_gzip
from services.backbone.pages.guard import plain_refusal

log = get_logger(__name__)

THEME_COOKIE: Final = "push-theme"
"""The name of the cookie with the chosen theme. A cookie holds for all ports of a host, and localStorage for one."""
THEMES: Final = ("light", "dark")
_SHARED: Final = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Site:
    """What the header of a service shows."""

    name: str
    links: Sequence[tuple[str, str]]
    """The name and the path of each page in the navigation."""
    language: str = "en"
    """`en` or `de`: how numbers and distances are written. The words of the frame are English."""
    density: str = "dense"
    """`dense` for operators, `comfortable` for everybody else."""
    safe: str = ""
    """A sentence for error pages that states what a failure of this service cannot have lost or changed."""


class Renderer:
    """The templates of one service, which may extend and import the shared ones.

    All values are escaped. An unknown name in a template raises an error instead of showing nothing.
    """

    def __init__(self, templates: Path, site: Site, assets: Assets) -> None:
        self._site = site
        self._environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader([jinja2.FileSystemLoader(templates), jinja2.FileSystemLoader(_SHARED)]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(site=site, asset=assets.url, here=None)
        self._environment.filters.update(
            number=lambda value: formats.number(value, site.language),
            distance=lambda metres: formats.distance(metres, site.language),
            size=lambda count: formats.size(count, site.language),
            clock=formats.clock,
            ago=lambda ms: formats.ago(ms, time.time_ns() // 1_000_000),
        )
        # A global module: blocks of child templates see it too.
        self._environment.globals["parts"] = self._environment.get_template("parts.html").module

    def page(self, scope: Scope, template: str, status: int = 200, /, **context: Any) -> Response:
        """Return a page. Its theme is the one that the visitor has chosen in any service on this host.

        Templates also get `host`, the Host header of the request.
        """
        frame = {"theme": _theme(scope), "host": Headers(scope=scope).get("host", "")}
        text = self._environment.get_template(template).render(frame | context)
        headers = {"Vary": "Accept-Encoding, Cookie"}
        # The compressed length gives a secret away if the page also repeats text of the request (BREACH). Pages hold no
        # secret: the guard checks Origin, so forms need no token.
        if accepts_gzip(Headers(scope=scope).get("accept-encoding", "")):
            content = gzip.compress(text.encode(), 6)
            return HTMLResponse(content, status, headers | {"Content-Encoding": "gzip"})
        return HTMLResponse(text, status, headers)

    def error(self, scope: Scope, status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
        """Return an error page: what happened, what is safe, and what to do.

        From status 500 on it has an id, which is also in the log.
        """
        error_id = secrets.token_hex(4) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
        if error_id is not None:
            log.warning("error_page", error_id=error_id, status=status, path=scope["path"], reason=reason)
        retry_s = (headers or {}).get("Retry-After")
        response = self.page(
            scope, "error.html", status, status=status, reason=reason, error_id=error_id, retry_s=retry_s
        )
        response.headers.update(headers or {})
        return response

    def refusal(self, scope: Scope, status: int, reason: str, headers: Mapping[str, str]) -> Response:
        """Return the response for a request that the guard refuses: an error page for a browser, else one line."""
        if "text/html" not in Headers(scope=scope).get("accept", ""):
            return plain_refusal(scope, status, reason, headers)
        return self.error(scope, status, reason, headers)


def _theme(scope: Scope) -> str | None:
    """Return the chosen theme, or None for the theme of the system.

    SimpleCookie is not used. Before Python 3.11.10 and 3.12.6 it takes 15 s for 60 kB of backslashes (CVE-2024-7592),
    and one invalid cookie of another service on this host hides all cookies.
    """
    for pair in Headers(scope=scope).get("cookie", "").split(";"):
        name, _, value = pair.partition("=")
        if name.strip() == THEME_COOKIE:
            theme = value.strip()
            return theme if theme in THEMES else None
    return None
