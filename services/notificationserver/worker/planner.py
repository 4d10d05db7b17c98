"""Planner: turns accepted notifications into the messages and deliveries of their recipients.

The order makes a kill at any point harmless: take the windows, insert the messages, insert their deliveries, clear the
due marks. Each step finds what an earlier run has done under the same ids and leaves it as it is. A notification that
cannot be planned is set aside with its reason, so that it does not stop the others.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from services.backbone.clock import clock_ms
from services.backbone.logs import get_logger
from services.backbone.mongo import Database
from services.notificationserver.core.deliveries import Delivery, deliveries_of
from services.notificationserver.core.mappings import ChannelTarget, DeviceMapping, EnabledChannels, targets_of
from services.notificationserver.core.messages import Message, compose
from services.notificationserver.core.notifications import ChatNotice, Notification, from_document
from services.notificationserver.core.planning import Recipient, groups_of, quiet_until_ms, recipients_of
from services.notificationserver.core.texts import language_of
from services.notificationserver.metrics import Metrics
from services.notificationserver.settings import DeliverySettings
from services.notificationserver.store import (
    DeliveryStore,
    Lease,
    MappingStore,
    MessageStore,
    NotificationStore,
    PlannedMessage,
    WindowStore,
)
from services.notificationserver.store.windows import WindowRequest
from services.notificationserver.worker.loop import UNREADABLE, WorkLoop, new_token

log = get_logger(__name__)

_GROUP: Final = 200
_RECIPIENTS: Final = 400
"""Recipients of notifications that are planned together: of 200 matches, or of one large chat."""
_MESSAGES: Final = 1_000
"""Messages that are in memory at a time. A chat message can have 20,000: 999 members with 20 devices each."""


class _Draft(NamedTuple):
    message: Message
    mapping: DeviceMapping | None
    targets: list[ChannelTarget]


class Planner:
    """Claims accepted notifications and plans them in groups."""

    def __init__(  # noqa: PLR0913 - the stores, the settings, and what tests replace
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
        self.loop = WorkLoop("planner", self.plan_due, poll_s=settings.poll_s)
        self._notifications = NotificationStore(database, keep_days=settings.keep_days)
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

    async def plan_due(self) -> bool:
        """Plan up to 200 notifications. Return whether there may be more. Raises PyMongoError."""
        lease = Lease(self._now_ms(), round(1000 * self._settings.lease_s), new_token())
        claimed = await self._notifications.claim(limit=_GROUP, lease=lease)
        if not claimed:
            return False
        self._at_point("claimed")
        for group in groups_of(await self._readable(claimed, lease), most=_RECIPIENTS):
            await self._plan_or_set_aside(group, lease)
            self.loop.heartbeat.beat()
        return len(claimed) == _GROUP

    async def _readable(self, documents: list[dict[str, Any]], lease: Lease) -> list[Notification]:
        """Return the notifications of documents. One that this version does not understand is set aside."""
        found: list[Notification] = []
        for document in documents:
            try:
                found.append(from_document(document))
            except UNREADABLE as error:
                await self._set_aside(document["_id"], error, lease)
        return found

    async def _plan_or_set_aside(self, group: list[Notification], lease: Lease) -> None:
        try:
            await self._plan(group, lease)
        except UNREADABLE:
            for each in group:
                try:
                    await self._plan([each], lease)
                except UNREADABLE as error:
                    await self._set_aside(each.id, error, lease)

    async def _set_aside(self, notification_id: str, error: Exception, lease: Lease) -> None:
        log.error("notification_set_aside", id=notification_id, exc_info=error)
        self._metrics.set_aside.inc()
        reason = f"{type(error).__name__}: {error}"[:200]
        await self._notifications.set_aside(notification_id, reason, token=lease.token)

    async def refresh_metrics(self) -> None:
        """Set the metrics of what waits. Raises PyMongoError."""
        number, age_ms = await self._notifications.waiting(now_ms=self._now_ms())
        self._metrics.unplanned.set(number)
        self._metrics.oldest_unplanned.set(age_ms / 1000.0)

    async def _plan(self, group: list[Notification], lease: Lease) -> None:
        users = {user for each in group if isinstance(each.notice, ChatNotice) for user in each.notice.recipients}
        chat_devices = await self._mappings.devices_of(users)
        recipients = [(each, recipient) for each in group for recipient in recipients_of(each, chat_devices)]
        for first in range(0, len(recipients), _MESSAGES):
            await self._plan_messages(recipients[first : first + _MESSAGES], lease.now_ms)
        await self._notifications.note_planned([each.id for each in group], token=lease.token)

    async def _plan_messages(self, recipients: list[tuple[Notification, Recipient]], now_ms: int) -> None:
        drafts = await self._drafts(recipients)
        holders = await self._take_windows(drafts)
        self._at_point("window")
        planned = [self._planned(draft, holders, now_ms) for draft in drafts]
        known = await self._messages.insert(planned)
        self._at_point("messages")
        deliveries = self._sent_deliveries(drafts, planned, known)
        await self._deliveries.insert(deliveries, due_ms=now_ms)
        await self._note_unreachable(drafts, known)
        # An earlier run has stored these. They are not sent, so the window that they may have taken now is free.
        unsent = (each.message for each in planned if known.get(each.message.id) in ("suppressed", "unreachable"))
        await self._windows.give_back(unsent)
        self._at_point("deliveries")
        self._count(planned, known)
        if deliveries:
            self._on_deliveries()

    async def _drafts(self, recipients: list[tuple[Notification, Recipient]]) -> list[_Draft]:
        mappings = await self._mappings.get_many(recipient.device_id for _, recipient in recipients)
        drafts: list[_Draft] = []
        for notification, (device_id, side) in recipients:
            mapping = mappings.get(device_id)
            language = language_of("" if mapping is None else mapping.locale, default=self._settings.language)
            message = compose(notification, side, device_id, language)
            drafts.append(_Draft(message, mapping, targets_of(mapping, self._enabled)))
        return drafts

    async def _take_windows(self, drafts: list[_Draft]) -> Mapping[str, str]:
        """Return the holders of the windows of the messages that have a channel: one without sends nothing."""
        limit_ms = round(1000 * self._settings.rate_limit_s)
        requests = [
            WindowRequest(message.window, message.id, limit_ms)
            for message, _, targets in drafts
            if message.window and targets
        ]
        failures = self._windows.failures
        holders = await self._windows.take(requests)
        self._metrics.windows_failed.inc(self._windows.failures - failures)
        return holders

    def _planned(self, draft: _Draft, holders: Mapping[str, str], now_ms: int) -> PlannedMessage:
        message = draft.message
        if not draft.targets:
            return PlannedMessage(message, "unreachable")
        holder = holders.get(message.window, message.id)
        if holder != message.id:
            return PlannedMessage(message, "suppressed", suppressed_by=holder)
        held_until = quiet_until_ms(draft.mapping, now_ms=now_ms, default_zone=self._settings.time_zone)
        if held_until is not None:
            return PlannedMessage(message, "held", held_until_ms=held_until)
        return PlannedMessage(message, "sent")

    def _sent_deliveries(
        self, drafts: list[_Draft], planned: list[PlannedMessage], known: Mapping[str, str]
    ) -> list[Delivery]:
        """Return the deliveries of the messages whose stored state is `sent`: an earlier run may have held them."""
        deliveries: list[Delivery] = []
        for draft, each in zip(drafts, planned, strict=True):
            if known.get(each.message.id, each.state) == "sent":
                deliveries += deliveries_of(each.message, draft.targets)
        return deliveries

    async def _note_unreachable(self, drafts: list[_Draft], known: Mapping[str, str]) -> None:
        """Note the messages without deliveries that an earlier run has stored as `sent`.

        Their devices have lost their channels since then.
        """
        sent = [draft.message for draft in drafts if not draft.targets and known.get(draft.message.id) == "sent"]
        if not sent:
            return
        deliveries = await self._deliveries.of_messages(message.id for message in sent)
        unreachable = [message for message in sent if message.id not in deliveries]
        await self._messages.note_unreachable([message.id for message in unreachable])
        await self._windows.give_back(unreachable)

    def _count(self, planned: list[PlannedMessage], known: Mapping[str, str]) -> None:
        for each in planned:
            if each.message.id not in known:
                self._metrics.messages.labels(each.state).inc()
