"""RobotsRules: the robots.txt of hosts whose pages are read (RFC 9309)."""

import datetime as dt
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from protego import Protego

from services.backbone.outgoing import BodyRefused, DownloadLimits, OutgoingDownload, OutgoingFailed, OutgoingRefused
from services.offerserver.core.exchanges import MOST_REDIRECTS, origin_of, redirect_of, wait_after_s

ROBOTS_LIMITS: Final = DownloadLimits(max_bytes=524_288, is_begin_enough=True)
"""RFC 9309 asks to read at least 500 KiB, and to ignore the rest."""
_PRODUCT: Final = "push-offers"
"""The product token of our User-Agent. The rest of it is the contact, which other tokens could match."""
_USER_AGENT_LINE: Final = re.compile(r"\s*user[- ]?agent\s*[:\s]\s*([^#]*)", re.IGNORECASE)
_LONGEST_DELAY_S: Final = 30.0


class RobotsDisallowed(Exception):
    """The host does not permit this page, or its robots.txt can't be read. The message is the reason."""


class RobotsUnread(Exception):
    """The robots.txt could not be read now. The message is the reason. Another attempt may succeed."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(f"robots.txt can't be read: {reason}")
        self.wait_s = wait_s
        """How long the host asks to wait."""


class RobotsRules:
    """Reads robots.txt once for each origin. Each run has its own rules, so a change counts from the next run on."""

    def __init__(self, download: Callable[[str], Awaitable[OutgoingDownload]]) -> None:
        """`download` sends one request with ROBOTS_LIMITS. It raises as OutgoingClient does, and TimeoutError."""
        self._download = download
        self._known: dict[str, Protego] = {}

    async def check(self, url: str) -> float:
        """Return the delay between requests in seconds that the host asks for.

        Raises RobotsDisallowed, or RobotsUnread. A host without robots.txt permits everything. One whose robots.txt
        can't be read permits nothing.
        """
        rules = await self._rules(origin_of(url))
        if not rules.can_fetch(url, _PRODUCT):
            raise RobotsDisallowed("robots.txt does not permit this page")
        return min(_LONGEST_DELAY_S, float(rules.crawl_delay(_PRODUCT) or 0.0))

    async def _rules(self, origin: str) -> Protego:
        if origin not in self._known:
            self._known[origin] = Protego.parse(await self._read(f"{origin}/robots.txt"))
        return self._known[origin]

    async def _read(self, url: str) -> str:
        try:
            for _ in range(MOST_REDIRECTS + 1):
                found = await self._download(url)
                target = redirect_of(url, found.status, found.headers.get("Location", ""))
                if target is None:
                    break
                url = target
        except TimeoutError as error:
            raise RobotsUnread("another request to this host has not ended") from error
        except OutgoingFailed as error:
            raise RobotsUnread(str(error)) from error
        except (OutgoingRefused, BodyRefused, ValueError) as error:
            raise RobotsDisallowed(f"robots.txt can't be read: {error}") from error
        if found.status >= HTTPStatus.INTERNAL_SERVER_ERROR or found.status == HTTPStatus.TOO_MANY_REQUESTS:
            wait_s = wait_after_s(found.status, found.headers.get("Retry-After", ""), dt.datetime.now(dt.UTC))
            raise RobotsUnread(f"status {found.status}", wait_s)
        if not HTTPStatus.OK <= found.status < HTTPStatus.MULTIPLE_CHOICES:
            return ""
        if found.is_cut:
            raise RobotsUnread("the response ended early")
        return _relevant(found.body)


def _relevant(body: bytes) -> str:
    """Return the text with one name for all groups of others: the parser keeps a list of rules for each name.

    Of a body that was cut at its limit, the last line may be a part of a rule.
    """
    if len(body) == ROBOTS_LIMITS.max_bytes:
        body = body[: body.rfind(b"\n") + 1]
    lines = body.decode("utf-8-sig", "replace").splitlines()
    return "\n".join("User-agent: other" if _names_another(line) else line for line in lines)


def _names_another(line: str) -> bool:
    found = _USER_AGENT_LINE.match(line)
    return found is not None and not _PRODUCT.startswith(found[1].strip().rstrip("*").lower())
