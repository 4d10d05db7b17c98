"""RobotsRules: the robots.txt of hosts whose pages are read (RFC 9309)."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from protego import Protego

from services.backbone.outgoing import BodyRefused, DownloadLimits, OutgoingClient, OutgoingFailed, OutgoingRefused
from services.offerserver.core.exchanges import origin_of, redirect_target

_LIMITS: Final = DownloadLimits(max_bytes=524_288)
"""RFC 9309 asks for at least 500 KiB."""
_KEEP_S: Final = 3600.0
_REDIRECTS: Final = 5
_LONGEST_DELAY_S: Final = 30.0


class RobotsDisallowed(Exception):
    """The host does not permit this page, or its robots.txt can't be read. The message is the reason."""


class RobotsRules:
    """Reads robots.txt once an hour for each origin."""

    def __init__(self, client: OutgoingClient, user_agent: str, *, clock_s: Callable[[], float]) -> None:
        self._client = client
        self._user_agent = user_agent
        self._clock_s = clock_s
        self._known: dict[str, tuple[float, Protego]] = {}

    async def check(self, url: str) -> float:
        """Return the delay between requests in seconds that the host asks for. Raises RobotsDisallowed.

        A host without robots.txt permits everything. One whose robots.txt can't be read permits nothing.
        """
        rules = await self._rules(origin_of(url))
        if not rules.can_fetch(url, self._user_agent):
            raise RobotsDisallowed("robots.txt does not permit this page")
        return min(_LONGEST_DELAY_S, float(rules.crawl_delay(self._user_agent) or 0.0))

    async def _rules(self, origin: str) -> Protego:
        read_s, rules = self._known.get(origin, (0.0, None))
        if rules is None or self._clock_s() - read_s > _KEEP_S:
            rules = await self._read(f"{origin}/robots.txt")
            self._known[origin] = (self._clock_s(), rules)
        return rules

    async def _read(self, url: str) -> Protego:
        headers = {"User-Agent": self._user_agent}
        try:
            for _ in range(_REDIRECTS + 1):
                found = await self._client.download("GET", url, limits=_LIMITS, headers=headers)
                location = found.headers.get("Location", "")
                if not (HTTPStatus.MULTIPLE_CHOICES <= found.status < HTTPStatus.BAD_REQUEST and location):
                    break
                url = redirect_target(url, location)
        except (OutgoingFailed, OutgoingRefused, BodyRefused, ValueError) as error:
            raise RobotsDisallowed(f"robots.txt can't be read: {error}") from error
        if found.status >= HTTPStatus.INTERNAL_SERVER_ERROR or found.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise RobotsDisallowed(f"robots.txt can't be read: status {found.status}")
        is_found = HTTPStatus.OK <= found.status < HTTPStatus.MULTIPLE_CHOICES
        return Protego.parse(found.body.decode("utf-8", "replace") if is_found else "")
