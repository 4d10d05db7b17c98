"""Attempt: limits the retries of one batch."""

import asyncio
import contextlib
import time

from services.backbone.backoff import Backoff

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0  # after an outage, the server is used again within this time


class GiveUp(Exception):
    """This instance can't finish the batch. The batch goes back to the list."""


class Attempt:
    """Limits the retries of one batch: by time, by its lease and by the stop of the process."""

    def __init__(self, hold_s: float, stop: asyncio.Event) -> None:
        """Allow retries for `hold_s`, and only until `stop` is set."""
        self._give_up_at_s = time.monotonic() + hold_s
        self._stop = stop
        self._backoff = new_backoff()
        self.number = 1
        self.lease_lost = False

    async def pause(self) -> None:
        """Wait before the next attempt. Raises GiveUp if no further attempt is allowed."""
        if self.lease_lost:
            raise GiveUp("another instance has reclaimed it")
        if time.monotonic() > self._give_up_at_s:
            raise GiveUp("held for too long")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), self._backoff.next_s())
        if self._stop.is_set():
            raise GiveUp("stopping")
        self.number += 1


def new_backoff() -> Backoff:
    """Return the pauses of kafkastore between attempts to reach Redis or Kafka."""
    return Backoff(first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S)
