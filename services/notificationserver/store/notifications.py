"""NotificationStore: accepted notifications, the planning that is due, and the events that they owe."""

from typing import Any, NamedTuple

import msgspec

from services.backbone.mongo import Database
from services.notificationserver.core.notifications import (
    Notification,
    OwedNotice,
    owed_event,
    to_document,
)
from services.notificationserver.core.timelines import NotificationRecord
from services.notificationserver.store.database import (
    NOTIFICATIONS,
    Lease,
    claim_oldest,
    expiry,
    insert_new,
    lease_fields,
    waiting,
)


class OwingNotification(NamedTuple):
    """A notification with the event that it owes."""

    id: str
    event: OwedNotice


class NotificationStore:
    """Notifications. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database, *, keep_days: int) -> None:
        self._notifications = database[NOTIFICATIONS]
        self._keep_days = keep_days

    async def accept(self, notifications: list[Notification]) -> list[bool]:
        """Store notifications, each with its due mark and the event that it owes. Return which ids are new.

        The ids of a group may be equal: the first one counts.
        """
        first = {notification.id: notification for notification in reversed(notifications)}
        known = await insert_new(self._notifications, map(self._document, first.values()))
        new: list[bool] = []
        for notification in notifications:
            new.append(notification.id not in known)
            known.add(notification.id)
        return new

    def _document(self, notification: Notification) -> dict[str, Any]:
        document = to_document(notification)
        document |= {
            "due_at": notification.accepted_ms,
            "expire_on": expiry(notification.accepted_ms, self._keep_days),
        }
        if (event := owed_event(notification)) is not None:
            document |= {"owed": msgspec.to_builtins(event), "owed_at": notification.accepted_ms}
        return document

    async def claim(self, *, limit: int, lease: Lease) -> list[dict[str, Any]]:
        """Claim notifications that are not planned yet, oldest first. Return their documents."""
        return await claim_oldest(self._notifications, field="due_at", limit=limit, lease=lease)

    async def note_planned(self, ids: list[str], *, token: str) -> None:
        """Clear the due marks of claimed notifications."""
        mine = {"_id": {"$in": ids}, "due_at_token": token}
        await self._notifications.update_many(mine, {"$unset": {"due_at": "", **lease_fields("due_at")}})

    async def get(self, notification_id: str) -> NotificationRecord | None:
        """Return how far the planning of a notification is."""
        wanted = {"accepted_ms": 1, "due_at": 1, "set_aside": 1}
        document = await self._notifications.find_one({"_id": {"$eq": notification_id}}, wanted)
        if document is None:
            return None
        return NotificationRecord(document["accepted_ms"], "due_at" not in document, document.get("set_aside", ""))

    async def set_aside(self, notification_id: str, reason: str, *, token: str) -> None:
        """Clear the due mark of a claimed notification that cannot be planned, and note the reason."""
        mine = {"_id": notification_id, "due_at_token": token}
        change = {"$set": {"set_aside": reason}, "$unset": {"due_at": "", **lease_fields("due_at")}}
        await self._notifications.update_one(mine, change)

    async def claim_owed(self, *, limit: int, lease: Lease) -> list[OwingNotification]:
        """Claim notifications that owe an event, oldest first."""
        claimed = await claim_oldest(self._notifications, field="owed_at", limit=limit, lease=lease)
        return [OwingNotification(each["_id"], msgspec.convert(each["owed"], OwedNotice)) for each in claimed]

    async def acknowledge(self, ids: list[str]) -> None:
        """Note that the tracker has accepted the events of notifications."""
        await self._notifications.update_many(
            {"_id": {"$in": ids}}, {"$unset": {"owed": "", "owed_at": "", **lease_fields("owed_at")}}
        )

    async def release_owed(self, ids: list[str], *, lease: Lease) -> None:
        """End the leases of notifications whose events were not accepted."""
        mine = {"_id": {"$in": ids}, "owed_at_token": lease.token}
        await self._notifications.update_many(mine, {"$unset": lease_fields("owed_at")})

    async def waiting(self, *, now_ms: int) -> tuple[int, int]:
        """Return the number of notifications to plan, and how long the oldest one has waited in ms."""
        return await waiting(self._notifications, field="due_at", now_ms=now_ms)

    async def owing(self, *, now_ms: int) -> tuple[int, int]:
        """Return the number of notifications that owe an event, and how long the oldest one has been owed in ms."""
        return await waiting(self._notifications, field="owed_at", now_ms=now_ms)
