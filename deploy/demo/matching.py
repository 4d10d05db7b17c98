"""The part of the demo that needs MongoDB: the scene, and the messages about its matches."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from deploy import catalog
from deploy.demo.phones import DemoPhones
from deploy.demo.sample import Pair
from deploy.demo.scene import DemoScene
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.processes import ProcessFailed
from deploy.develop.localstack.services import ServiceProcess
from deploy.operate.send import SendCounts

_SHOWN: Final = 8
_POLL_S: Final = 0.1
_READY_TIMEOUT_S: Final = 120.0
"""Longer than a start takes on a machine that also runs tests."""


class MatchingDemo(NamedTuple):
    """The scene in a running storage, and the phones of its owners."""

    services: tuple[ServiceProcess, ...]
    """storage, the notificationserver, and the processes that act on events."""
    scene: DemoScene
    phones: DemoPhones

    @property
    def events(self) -> int:
        """The events that are owed for the scene: one for each created object, and one for each match.

        A match whose messages the rate limit suppresses is left out: an object meets another one again within minutes.
        """
        return self.scene.posted.total() + self.phones.matches

    def pairs(self, side: str) -> set[Pair]:
        """Return the pairs about which the owners of one side (search or offer) got a message."""
        owners = self.scene.owners
        found = (message.match_id.split(".") for message in self.phones.messages if message.side == side)
        return {Pair(owners.get(search, search), owners.get(offer, offer)) for search, offer, _ in found}

    async def wait_until_ready(self) -> None:
        """Return when the services are ready. Raises ProcessFailed when one has ended or at the timeout."""
        until_s = time.monotonic() + _READY_TIMEOUT_S
        for service in self.services:
            # Not ServiceProcess.wait_until_ready in a thread: Ctrl-C would wait for the thread.
            while not await asyncio.to_thread(service.is_ready):
                if not service.is_alive:
                    raise ProcessFailed(f"{service.name} has ended.\n{service.process.log_tail()}")
                if time.monotonic() > until_s:
                    raise ProcessFailed(
                        f"{service.name} was not ready within {_READY_TIMEOUT_S:.0f} s.\n{service.process.log_tail()}"
                    )
                await asyncio.sleep(_POLL_S)

    async def register(self) -> None:
        """Register the phone of each owner of the scene."""
        await self.phones.register(found.owner for found in self.scene.sample.objects)

    async def run(self) -> None:
        """Play the scene without end, from when the services are ready."""
        await self.wait_until_ready()
        await self.register()
        await self.scene.run()

    def render(self) -> Group:
        """Return the newest matches for a terminal of 80 columns."""
        posted = self.scene.posted
        if not posted:
            return Group(Text("storage and notificationserver start: offers and searches follow", style="bold"))
        moving = len(self.scene.sample.mobile)
        numbers = f"{posted['offers']} offers  {posted['searches']} searches  {moving} of them move"
        found = f"matches: {self.phones.matches:,}  messages: {self.phones.count:,}"
        title = Text(f"{numbers}  {found}", style="bold")
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("time", "who", "found"):
            table.add_column(name)
        for name in ("distance", "encounter"):
            table.add_column(name, justify="right")
        seekers = [message for message in self.phones.messages if message.side == "search"]
        for message in reversed(seekers[-_SHOWN:]):
            table.add_row(
                time.strftime("%H:%M:%S", time.localtime(message.at_s)),
                Text(message.owner),
                Text(message.offer_title),
                f"{message.distance_m:,.0f} m",
                str(message.encounter),
            )
        return Group(title, table) if seekers else Group(title)


@contextlib.asynccontextmanager
async def matching_demo(stack: LocalStack, *, sent: SendCounts) -> AsyncIterator[MatchingDemo | None]:
    """Open the scene and the phones of a running system. None if it runs without storage.

    `sent` counts the events of location fixes.
    """
    if stack.storage_url is None or stack.notify_url is None:
        yield None
        return
    acting = [row for row in catalog.load().processes if row.acts]
    labels = ("notificationserver", "storage", *(".".join((row.service, *row.arguments)) for row in acting))
    services = tuple(stack.service(label) for label in labels)
    phones = DemoPhones(stack.notify_url, stack.log_directory / "messages.log")
    async with phones, DemoScene(stack.storage_url, stack.tracker_url, sent=sent) as scene:
        yield MatchingDemo(services, scene, phones)
