"""ClaimedBatch: a claim in progress, until it is confirmed or given back."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from services.backbone.kafka import Record
from services.backbone.logs import get_logger
from services.backbone.queue import Claim, EventQueue, QueueError
from services.kafkastore.core.entries import FailedEntry
from services.kafkastore.worker.attempt import Attempt

log = get_logger(__name__)

_GIVE_BACK_S = 1.0  # a stop must not wait for a Redis that hangs; there can be two batches


class Prepared(NamedTuple):
    """The results of preparing the entries of a claim."""

    records: list[Record]
    origins: list[bytes]
    """The entry behind each record."""
    dead: list[FailedEntry]
    erased: int
    """Number of entries that are dropped because their device is erased."""


class ClaimedBatch:
    """A claim in progress. Its lease is renewed until `end`. Its attempt limits that time."""

    def __init__(self, queue: EventQueue, claim: Claim, attempt: Attempt, *, lease_s: float) -> None:
        """Begin to renew the lease."""
        self.claim = claim
        self.attempt = attempt
        self.prepared = Prepared([], [], [], 0)
        self._queue = queue
        self._renewing: asyncio.Task[None] | None = asyncio.create_task(self._renew(lease_s / 3))

    @property
    def entries(self) -> Sequence[bytes]:
        """The claimed entries."""
        return self.claim.entries

    def end(self) -> None:
        """Stop renewing the lease. A second call does nothing."""
        if self._renewing is not None:
            self._renewing.cancel()
            # The task refers to this batch. A reference back would keep both until the cyclic GC runs.
            self._renewing = None

    async def give_back(self, reason: BaseException) -> None:
        """Put the entries back at the head of the list.

        If Redis does not respond, the lease expires, and then the entries go back as well.
        """
        self.end()
        with contextlib.suppress(QueueError, TimeoutError):
            async with asyncio.timeout(_GIVE_BACK_S):
                entries = await self._queue.give_back(self.claim)
            log.warning("claim_given_back", claim=self.claim.key, entries=entries, reason=str(reason) or "stopping")

    async def _renew(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            with contextlib.suppress(QueueError):
                if not await self._queue.renew([self.claim]):
                    self.attempt.lease_lost = True
                    return
