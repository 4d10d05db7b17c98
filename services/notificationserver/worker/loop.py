"""WorkLoop: repeats a step while it finds work, and waits between."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

from pymongo.errors import PyMongoError

from services.backbone.backoff import Backoff
from services.backbone.clients import EventUnavailable
from services.backbone.health import Heartbeat
from services.backbone.logs import get_logger
from services.backbone.mongo import describe

log = get_logger(__name__)

UNREADABLE: Final = (ValueError, LookupError, TypeError)
"""What is raised for a stored value that this version does not understand: a newer version or a person wrote it."""
LATER_MS: Final = 3_600_000
"""How long a delivery or held message waits that this version does not understand. Nothing else waits for it."""
_HEARTBEAT_SLACK_S: Final = 60.0


def new_token() -> str:
    """Return the token of a lease."""
    return uuid.uuid4().hex


class WorkLoop:
    """Runs `step` until cancelled. `step` returns whether there may be more work now."""

    def __init__(self, name: str, step: Callable[[], Awaitable[bool]], *, poll_s: float) -> None:
        """Wait at most `poll_s` between two steps: other processes may have stored work and died."""
        self.heartbeat = Heartbeat(limit_s=poll_s + _HEARTBEAT_SLACK_S)
        self.stopping = False
        """Set before `run` is cancelled: the MongoDB client can swallow a cancellation."""
        self._name = name
        self._step = step
        self._poll_s = poll_s
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Run the step now."""
        self._changed.set()

    async def run(self) -> None:
        """Run steps until stopped or cancelled. While a server is not available, it is tried again."""
        backoff = Backoff(longest_s=2.0)
        while not self.stopping:
            self.heartbeat.beat()
            self._changed.clear()
            try:
                more = await self._step()
            except (PyMongoError, EventUnavailable) as error:
                reason = describe(error) if isinstance(error, PyMongoError) else str(error)[:300]
                log.warning("step_failed", loop=self._name, error=reason)
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            if not more:
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._changed.wait()
        except TimeoutError:
            pass
