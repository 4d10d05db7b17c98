"""The notification log of the demo: stands in for the notificationserver, which this repository does not have.

It stores each notification once and notifies nobody. The contract is in `services.backbone.clients`.
"""

import time
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec
from aiohttp import web

from services.backbone.clients import MatchNotification
from services.backbone.pages.gazetteer import distance_m

_MOST_KEPT: Final = 10_000
"""The number of notifications that are kept, the newest ones. A repetition comes within seconds."""


class FoundMatch(NamedTuple):
    """A match as people see it."""

    at_s: float
    """When it was reported, in seconds since 1970."""
    search_owner: str
    offer_owner: str
    offer_title: str
    distance_m: float
    """The distance when it was reported. A moving object may have moved on since it was matched."""
    encounter: int
    """1: the first time that the two met."""


class NotificationLog:
    """A server on loopback that accepts notifications. Use it as an async context manager.

    Each notification is a line of JSON in `file`.
    """

    def __init__(self, host: str, port: int, file: Path) -> None:
        self._host = host
        self._port = port
        self._file = file
        self._found: dict[str, FoundMatch] = {}
        self.count = 0
        """The number of different notifications."""

    @property
    def matches(self) -> tuple[FoundMatch, ...]:
        """The newest matches, the oldest of them first."""
        return tuple(self._found.values())

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/notify", self._accept)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def _accept(self, request: web.Request) -> web.Response:
        try:
            body = await request.read()
            notification = msgspec.json.decode(body, type=MatchNotification)
            found = _match(notification, at_s=time.time())
        except ConnectionError:  # storage was killed
            return web.Response(status=400)
        except ValueError as error:  # the errors of msgspec are of this type, too
            return web.Response(status=422, text=str(error))
        if notification.id not in self._found:
            self._found[notification.id] = found
            self.count += 1
            with self._file.open("ab") as log:
                log.write(body + b"\n")
        if len(self._found) > _MOST_KEPT:
            del self._found[next(iter(self._found))]
        return web.Response()


def _match(notification: MatchNotification, *, at_s: float) -> FoundMatch:
    offer, search = notification.offer, notification.search
    return FoundMatch(
        at_s=at_s,
        search_owner=search.device_id,
        offer_owner=offer.device_id,
        offer_title=offer.title,
        distance_m=distance_m(offer.lat, offer.lng, search.lat, search.lng),
        encounter=int(notification.id.rpartition(".")[2]),
    )
