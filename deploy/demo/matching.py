"""The part of the demo that needs storage: the scene, and the notifications of its matches."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from rich.console import Group
from rich.table import Table
from rich.text import Text

from deploy.demo.notification_log import NotificationLog
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
    """The scene in a running storage, and what storage reports about it."""

    storage: ServiceProcess
    scene: DemoScene
    log: NotificationLog

    @property
    def events(self) -> int:
        """The events that storage owes for the objects of the scene: one for each object that it created."""
        return self.scene.posted.total()

    async def wait_until_ready(self) -> None:
        """Return when storage is ready. Raises ProcessFailed when it has ended or at the timeout."""
        until_s = time.monotonic() + _READY_TIMEOUT_S
        # Not ServiceProcess.wait_until_ready in a thread: Ctrl-C would wait for the thread.
        while not await asyncio.to_thread(self.storage.is_ready):
            if not self.storage.is_alive:
                raise ProcessFailed(f"storage has ended.\n{self.storage.process.log_tail()}")
            if time.monotonic() > until_s:
                raise ProcessFailed(
                    f"storage was not ready within {_READY_TIMEOUT_S:.0f} s.\n{self.storage.process.log_tail()}"
                )
            await asyncio.sleep(_POLL_S)

    async def run(self) -> None:
        """Play the scene without end, from when storage is ready."""
        await self.wait_until_ready()
        await self.scene.run()

    def render(self) -> Group:
        """Return the newest matches for a terminal of 80 columns."""
        posted = self.scene.posted
        if not posted:
            return Group(Text("storage starts: offers and searches follow", style="bold"))
        moving = len(self.scene.sample.mobile)
        numbers = f"{posted['offers']} offers  {posted['searches']} searches  {moving} of them move"
        title = Text(f"{numbers}  matches: {self.log.count:,}", style="bold")
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("time", "who", "found"):
            table.add_column(name)
        for name in ("distance", "encounter"):
            table.add_column(name, justify="right")
        for found in reversed(self.log.matches[-_SHOWN:]):
            table.add_row(
                time.strftime("%H:%M:%S", time.localtime(found.at_s)),
                Text(found.search_owner),
                Text(found.offer_title),
                f"{found.distance_m:,.0f} m",
                str(found.encounter),
            )
        return Group(title, table) if self.log.count else Group(title)


@contextlib.asynccontextmanager
async def matching_demo(stack: LocalStack, *, sent: SendCounts) -> AsyncIterator[MatchingDemo | None]:
    """Open the scene and the notification log of a running system. None if it runs without storage.

    `sent` counts the events of location fixes.
    """
    if stack.storage_url is None:
        yield None
        return
    storage = stack.service("storage")
    address = urlsplit(storage.env["STORAGE_NOTIFY_URL"])
    log = NotificationLog(str(address.hostname), address.port or 0, stack.log_directory / "notifications.log")
    async with log, DemoScene(stack.storage_url, stack.tracker_url, sent=sent) as scene:
        yield MatchingDemo(storage, scene, log)
