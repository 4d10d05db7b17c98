"""The phones of the demo: they register with the notificationserver and receive its messages as callbacks."""

import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import parse_qsl, quote

import aiohttp
import msgspec
from aiohttp import web

from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.errors import OperatorError
from services.backbone.pages.gazetteer import distance_m

_MOST_KEPT: Final = 10_000
"""The number of messages that are kept, the newest ones. A repetition comes within seconds."""
_TIMEOUT_S: Final = 10.0


class PhoneMessage(NamedTuple):
    """A message about a match, as a phone shows it."""

    at_s: float
    """When it arrived, in seconds since 1970."""
    owner: str
    """The device that received it."""
    match_id: str
    """`<search>.<offer>.<encounter>`."""
    side: str
    """Whose side of the match the owner is on: search or offer."""
    offer_title: str
    distance_m: float
    """The distance when the match was reported. A moving object may have moved on since it was matched."""

    @property
    def encounter(self) -> int:
        """1: the first time that the two met."""
        return int(self.match_id.rpartition(".")[2])


class DemoPhones:
    """A server on loopback that receives the callbacks of all phones. Use it as an async context manager.

    Each message counts once, and is a line of JSON in `file`.
    """

    def __init__(self, notify_url: str, file: Path) -> None:
        """`notify_url` is the notificationserver."""
        self._notify_url = notify_url
        self._file = file
        self._port = free_port()
        self._messages: dict[str, PhoneMessage] = {}
        self.count = 0
        """The number of different messages."""
        self.matches = 0
        """The number of different matches of which a message arrived."""

    @property
    def messages(self) -> tuple[PhoneMessage, ...]:
        """The newest messages, the oldest of them first."""
        return tuple(self._messages.values())

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/{owner}", self._receive)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    async def register(self, owners: Iterable[str]) -> None:
        """Register the phone of each owner. Raises OperatorError when the notificationserver does not accept one."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session:
            for owner in owners:
                callback = f"http://{LOOPBACK}:{self._port}/{quote(owner, safe='')}"
                body = {"device_id": owner, "callback_url": callback}
                async with session.post(f"{self._notify_url}/register", json=body) as response:
                    if not response.ok:
                        raise OperatorError(f"the notificationserver did not register {owner}: {await response.text()}")

    async def _receive(self, request: web.Request) -> web.Response:
        try:
            form = dict(parse_qsl((await request.read()).decode()))
            message_id = form["data[message_id]"]
            message = _message(request.match_info["owner"], message_id, form, at_s=time.time())
        except ConnectionError:  # the notificationserver was killed
            return web.Response(status=400)
        except (KeyError, ValueError) as error:
            return web.Response(status=422, text=f"{type(error).__name__}: {error}")
        if message_id not in self._messages:
            other_side = "offer" if message.side == "search" else "search"
            self.matches += f"{message.match_id}.{other_side}" not in self._messages
            self._messages[message_id] = message
            self.count += 1
            with self._file.open("ab") as log:
                log.write(msgspec.json.encode(form | {"owner": message.owner}) + b"\n")
        if len(self._messages) > _MOST_KEPT:
            del self._messages[next(iter(self._messages))]
        return web.Response()


def _message(owner: str, message_id: str, form: dict[str, str], *, at_s: float) -> PhoneMessage:
    match_id, _, side = message_id.rpartition(".")

    def number(of: str, name: str) -> float:
        return float(form[f"params[{of}][table][{name}]"])

    message = PhoneMessage(
        at_s=at_s,
        owner=owner,
        match_id=match_id,
        side=side,
        offer_title=form["params[offer][table][title]"],
        distance_m=distance_m(
            number("offer", "lat"), number("offer", "lng"), number("search", "lat"), number("search", "lng")
        ),
    )
    if message.encounter < 1 or side not in ("offer", "search"):
        raise ValueError(f"{message_id!r} is not the id of a message about a match")
    return message
