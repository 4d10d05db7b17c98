"""Merger: sends what quiet hours have held, as one message for each device."""

from collections.abc import Callable
from typing import Final

from services.backbone.clock import clock_ms
from services.backbone.logs import get_logger
from services.backbone.mongo import Database
from services.notificationserver.core.deliveries import deliveries_of
from services.notificationserver.core.mappings import EnabledChannels, ref_of, targets_of
from services.notificationserver.core.messages import merge
from services.notificationserver.core.planning import quiet_until_ms
from services.notificationserver.core.texts import language_of
from services.notificationserver.metrics import Metrics
from services.notificationserver.settings import DeliverySettings
from services.notificationserver.store import (
    DeliveryStore,
    Lease,
    MappingStore,
    MessageStore,
    PlannedMessage,
    WindowStore,
)
from services.notificationserver.worker.loop import LATER_MS, UNREADABLE, WorkLoop, new_token

log = get_logger(__name__)

_DEVICES: Final = 100


class Merger:
    """Finds devices whose quiet hours have ended and merges their messages, one process for each device at a time."""

    def __init__(  # noqa: PLR0913 - the settings, and what tests replace
        self,
        database: Database,
        windows: WindowStore,
        settings: DeliverySettings,
        metrics: Metrics,
        enabled: EnabledChannels,
        *,
        on_deliveries: Callable[[], None] = lambda: None,
        now_ms: Callable[[], int] = clock_ms,
        at_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_deliveries` is called when deliveries are due. Tests stop the process in `at_point`."""
        self.loop = WorkLoop("merger", self.merge_due, poll_s=settings.poll_s)
        self._mappings = MappingStore(database)
        self._messages = MessageStore(database, keep_days=settings.keep_days)
        self._deliveries = DeliveryStore(database, keep_days=settings.keep_days)
        self._windows = windows
        self._settings = settings
        self._metrics = metrics
        self._enabled = enabled
        self._on_deliveries = on_deliveries
        self._now_ms = now_ms
        self._at_point = at_point

    async def merge_due(self) -> bool:
        """Merge the held messages of up to 100 devices. Return whether any was merged. Raises PyMongoError."""
        merged = 0
        for device_id in await self._messages.devices_to_merge(now_ms=self._now_ms(), limit=_DEVICES):
            try:
                merged += await self._merge_device(device_id)
            except UNREADABLE as error:
                await self._set_aside(device_id, error)
        if merged:
            self._on_deliveries()
        return bool(merged)

    async def _set_aside(self, device_id: str, error: Exception) -> None:
        """Hold the messages of a device for another hour: this version does not understand one, or the device."""
        log.error("merging_set_aside", device=ref_of(device_id), exc_info=error)
        self._metrics.set_aside.inc()
        now_ms = self._now_ms()
        await self._messages.hold(device_id, now_ms=now_ms, until_ms=now_ms + LATER_MS)

    async def refresh_metrics(self) -> None:
        """Set the metric of what is held. Raises PyMongoError."""
        self._metrics.held.set(await self._messages.held())

    async def _merge_device(self, device_id: str) -> bool:
        now_ms = self._now_ms()
        mapping = await self._mappings.get(device_id)
        lease = Lease(now_ms, round(1000 * self._settings.lease_s), new_token())
        if mapping is not None and not await self._mappings.lease(device_id, lease):
            return False
        quiet_until = quiet_until_ms(mapping, now_ms=now_ms, default_zone=self._settings.time_zone)
        if quiet_until is not None:  # the device has changed its hours, or no merger ran since their end
            await self._messages.hold(device_id, now_ms=now_ms, until_ms=quiet_until)
        merged_id, held = await self._messages.take_held(device_id, now_ms=now_ms, merged_id=f"merged.{new_token()}")
        self._at_point("chosen")
        ids = [message.id for message in held]
        targets = targets_of(mapping, self._enabled)
        if not targets:
            await self._messages.note_unreachable(ids)
            await self._windows.give_back(held)
        elif held:
            if len(held) == 1:
                message = held[0]
                merged_id = message.id
            else:
                language = language_of("" if mapping is None else mapping.locale, default=self._settings.language)
                message = merge(held, merged_id, language, now_ms=now_ms)
                if not await self._messages.insert([PlannedMessage(message, "sent")]):
                    self._metrics.messages.labels("merged").inc()
            self._at_point("merged")
            await self._deliveries.insert(deliveries_of(message, targets), due_ms=now_ms)
            await self._messages.note_merged(ids, merged_id)
        if mapping is not None:
            await self._mappings.release(device_id, lease)
        return bool(held)
