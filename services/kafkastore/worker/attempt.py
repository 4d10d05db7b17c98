"""Attempt: how often, how long, and whether still, one batch may be tried."""

import asyncio
import contextlib
import random
import time

_LONGEST_PAUSE_S = 5.0  # between attempts: short enough that all is well soon after the other side is back


class GiveUp(Exception):  # noqa: N818 - a decision, not a fault
    """This instance can't finish the batch: it goes back to the list."""


class Attempt:
    """How often, how long, and whether still, one batch may be tried."""

    def __init__(self, hold_s: float, stop: asyncio.Event) -> None:
        """Try for `hold_s` at most, and not once `stop` is set."""
        self._give_up_at_s = time.monotonic() + hold_s
        self._stop = stop
        self.number = 1
        self.lease_lost = False

    async def pause(self) -> None:
        """Wait before the next attempt. Raises GiveUp when there should be none."""
        if self.lease_lost:
            raise GiveUp("another instance has taken it back")
        if time.monotonic() > self._give_up_at_s:
            raise GiveUp("held for too long")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), pause_s(self.number))
        if self._stop.is_set():
            raise GiveUp("stopping")
        self.number += 1


def pause_s(failures: int) -> float:
    """Double the wait with each failure, up to a limit; jitter keeps instances from coming back all at once."""
    return min(_LONGEST_PAUSE_S, 0.1 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
