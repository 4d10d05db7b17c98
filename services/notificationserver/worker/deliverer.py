"""Deliverer: attempts due deliveries.

Each host has its own slots (PER_HOST). A delivery is claimed only when its host has room, so a host that does not
respond holds its slots and no more. A host with waiting deliveries and a free slot starts one at once. When all slots
of the process are used up, the hosts take turns.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from pymongo.errors import PyMongoError

from services.backbone.clock import clock_ms
from services.backbone.logs import get_logger
from services.backbone.mongo import Database, describe
from services.notificationserver.core.deliveries import STALE, Delivery
from services.notificationserver.core.mappings import ChannelTarget, current_host
from services.notificationserver.core.outcomes import Outcome
from services.notificationserver.core.planning import quiet_until_ms
from services.notificationserver.metrics import Metrics
from services.notificationserver.providers import DeliveryChannel, Parcel
from services.notificationserver.settings import DeliverySettings
from services.notificationserver.store import DeliveryStore, Lease, MappingStore, MessageStore, WindowStore
from services.notificationserver.worker.loop import LATER_MS, UNREADABLE, WorkLoop, new_token
from services.notificationserver.worker.results import AttemptRecorder

log = get_logger(__name__)

_GROUP: Final = 200


class _Claimed:
    """A claimed delivery, what it needs, and its lease."""

    __slots__ = ("parcel", "token", "until_ms")

    def __init__(self, parcel: Parcel, token: str, until_ms: int) -> None:
        self.parcel = parcel
        self.token = token
        self.until_ms = until_ms


class Deliverer:
    """Claims due deliveries and attempts them."""

    def __init__(  # noqa: PLR0913 - the channels, the settings, and what tests replace
        self,
        database: Database,
        channels: Mapping[str, DeliveryChannel],
        windows: WindowStore,
        settings: DeliverySettings,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int] = clock_ms,
        at_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`channels` are by the first part of their name. Tests stop the process in `at_point`."""
        self.loop = WorkLoop("deliverer", self.claim_due, poll_s=settings.poll_s)
        self._mappings = MappingStore(database)
        self._messages = MessageStore(database, keep_days=settings.keep_days)
        self._deliveries = DeliveryStore(database, keep_days=settings.keep_days)
        self._recorder = AttemptRecorder(database, self._deliveries, self._messages, windows, metrics, now_ms=now_ms)
        self._channels = channels
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._at_point = at_point
        self._queued: dict[str, deque[_Claimed]] = {}
        """Claimed deliveries by host, in the order of their turns."""
        self._active: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def claim_due(self) -> bool:
        """Claim due deliveries and start them. Return whether there may be more. Raises PyMongoError."""
        room = 2 * self._settings.most_attempts - self._held()
        if room <= 0:
            return False
        limit = min(_GROUP, room)
        lease = Lease(self._now_ms(), round(1000 * self._settings.lease_s), new_token())
        claimed = await self._deliveries.claim(self._free, limit=limit, lease=lease)
        if not claimed:
            return False
        moved: dict[str, str] = {}
        for parcel, host in await self._readable(claimed, lease):
            if host != parcel.delivery.host:
                moved[parcel.delivery.id] = host
                continue
            waiting = self._queued.setdefault(host, deque())
            waiting.append(_Claimed(parcel, lease.token, lease.now_ms + lease.ms))
        await self._deliveries.move(moved, token=lease.token)
        self._start()
        return len(claimed) == limit or bool(moved)

    async def _readable(self, documents: list[dict[str, Any]], lease: Lease) -> list[tuple[Parcel, str]]:
        """Return what `_read` does. A delivery that this version does not understand is tried again an hour later."""
        try:
            return await self._read(documents, lease.now_ms)
        except UNREADABLE:
            found: list[tuple[Parcel, str]] = []
            for document in documents:
                try:
                    found += await self._read([document], lease.now_ms)
                except UNREADABLE:
                    log.exception("delivery_set_aside", id=document["_id"])
                    self._metrics.set_aside.inc()
                    until_ms = lease.now_ms + LATER_MS
                    await self._deliveries.defer(document["_id"], until_ms=until_ms, token=lease.token)
            return found

    async def _read(self, documents: list[dict[str, Any]], now_ms: int) -> list[tuple[Parcel, str]]:
        """Return the deliveries of documents with what they need, and the host that each goes to now."""
        deliveries = [Delivery.from_document(document) for document in documents]
        messages = await self._messages.get_many(each.message_id for each in deliveries)
        mappings = await self._mappings.get_many(each.device_id for each in deliveries)
        return [
            (
                Parcel(each, messages[each.message_id], mapping := mappings.get(each.device_id), now_ms),
                current_host(mapping, ChannelTarget(each.channel, each.host)),
            )
            for each in deliveries
            if each.message_id in messages  # both expire at the same time
        ]

    async def refresh_metrics(self) -> None:
        """Set the metrics of what waits and of the dead list. Raises PyMongoError."""
        number, age_ms = await self._deliveries.waiting(now_ms=self._now_ms())
        self._metrics.waiting.set(number)
        self._metrics.oldest_due.set(age_ms / 1000.0)
        self._metrics.dead_list.set(await self._deliveries.dead())

    async def finish(self, *, limit_s: float) -> None:
        """End the attempts in flight within `limit_s`, and release what was not attempted. The loop has ended."""
        queued = [each for waiting in self._queued.values() for each in waiting]
        self._queued.clear()
        by_token: dict[str, list[str]] = {}
        for each in queued:
            by_token.setdefault(each.token, []).append(each.parcel.delivery.id)
        try:
            async with asyncio.timeout(limit_s):
                for token, ids in by_token.items():
                    await self._deliveries.release(ids, token=token)
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        except (TimeoutError, PyMongoError):
            log.warning("attempts_not_finished", number=len(self._tasks))  # another process repeats them
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _held(self) -> int:
        return self._active.total() + sum(map(len, self._queued.values()))

    def _free(self, host: str) -> int:
        """Return how many deliveries of a host may be claimed: one waits behind each slot."""
        return 2 * self._settings.per_host - self._active[host] - len(self._queued.get(host, ()))

    def _start(self) -> None:
        """Fill the free slots, one delivery of each host in turn."""
        turns = deque(self._queued)
        while turns and self._active.total() < self._settings.most_attempts:
            host = turns.popleft()
            waiting = self._queued[host]
            if not waiting:
                del self._queued[host]
            elif self._active[host] < self._settings.per_host:
                self._active[host] += 1
                task = asyncio.create_task(self._attempt(host, waiting.popleft()))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                turns.append(host)

    async def _attempt(self, host: str, claimed: _Claimed) -> None:
        delivery = claimed.parcel.delivery
        try:
            await self._send(claimed)
        except PyMongoError as error:
            # The lease ends by itself, and the delivery is attempted again.
            log.warning("result_not_written", delivery=delivery.id, error=describe(error))
        except Exception:
            log.exception("attempt_failed", delivery=delivery.id)
        finally:
            self._active[host] -= 1
            if not self._active[host]:
                del self._active[host]
            if host in self._queued:
                self._queued[host] = self._queued.pop(host)  # to the end: the other hosts are first
            self._start()
            if not self._queued.get(host):
                self.loop.wake()

    async def _send(self, claimed: _Claimed) -> None:
        now_ms = self._now_ms()
        parcel = claimed.parcel._replace(now_ms=now_ms)
        if now_ms + 1000 * self._settings.attempt_timeout_s >= claimed.until_ms:
            return  # another process may claim it before this attempt ends
        if now_ms >= parcel.delivery.expires_ms:
            await self._recorder.give_up(parcel, STALE, token=claimed.token)
            return
        channel = self._channels.get(parcel.delivery.channel.partition(".")[0])
        if channel is None:
            await self._recorder.give_up(parcel, "the channel is switched off", token=claimed.token)
            return
        quiet_until = quiet_until_ms(parcel.mapping, now_ms=now_ms, default_zone=self._settings.time_zone)
        if quiet_until is not None:
            await self._recorder.postpone(parcel, quiet_until, token=claimed.token)
            return
        self._at_point("sending")
        try:
            outcome = await channel.send(parcel)
        except Exception as error:
            log.exception("channel_failed", delivery=parcel.delivery.id)
            outcome = Outcome("error", f"an error of this service: {type(error).__name__}")
        self._at_point("sent")
        await self._recorder.record(parcel, outcome, token=claimed.token)
        self._at_point("recorded")
