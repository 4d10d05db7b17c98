"""MessageStore: the messages to devices, and those that are held during quiet hours."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from pymongo import ASCENDING, DESCENDING

from services.backbone.mongo import Database
from services.notificationserver.core.messages import Message, MessageState
from services.notificationserver.core.timelines import MessageRecord
from services.notificationserver.store.database import MESSAGES, expiry, insert_new

_MOST_HELD: Final = 1_000


class PlannedMessage(NamedTuple):
    """A message with its state."""

    message: Message
    state: MessageState
    suppressed_by: str = ""
    """The message that holds the window."""
    held_until_ms: int | None = None


class MessageStore:
    """Messages. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database, *, keep_days: int) -> None:
        self._messages = database[MESSAGES]
        self._keep_days = keep_days

    async def insert(self, planned: Iterable[PlannedMessage]) -> dict[str, str]:
        """Insert messages. Return the stored states of those that were known already; they stay as they are."""
        known = await insert_new(self._messages, map(self._document, planned))
        if not known:
            return {}
        found = await self._messages.find({"_id": {"$in": list(known)}}, {"state": 1}).to_list()
        return {document["_id"]: document["state"] for document in found}

    def _document(self, planned: PlannedMessage) -> dict[str, Any]:
        message = planned.message
        document = message.to_document()
        document |= {"state": planned.state, "expire_on": expiry(message.accepted_ms, self._keep_days)}
        if planned.suppressed_by:
            document["suppressed_by"] = planned.suppressed_by
        if planned.held_until_ms is not None:
            # The first one is removed when the message is merged; pages show the second one.
            document |= {"held_until": planned.held_until_ms, "was_held_until": planned.held_until_ms}
        return document

    async def get_many(self, ids: Iterable[str]) -> dict[str, Message]:
        """Return the known messages among the ids."""
        wanted = list(set(ids))
        if not wanted:
            return {}
        found = await self._messages.find({"_id": {"$in": wanted}}).to_list()
        return {document["_id"]: Message.from_document(document) for document in found}

    async def page(self, *, device_id: str = "", text: str = "", skip: int, limit: int) -> list[MessageRecord]:
        """Return a part of the messages, newest first: all, those of a device, or those of a notification or id."""
        query: dict[str, Any] = {}
        if device_id:
            query["device_id"] = {"$eq": device_id}
        if text:
            query["$or"] = [{"notification_id": {"$eq": text}}, {"_id": {"$eq": text}}]
        found = self._messages.find(query, sort=[("accepted_ms", DESCENDING)], skip=skip, limit=limit)
        return [_record(document) async for document in found]

    async def of_notification(self, notification_id: str, *, skip: int, limit: int) -> list[MessageRecord]:
        """Return a part of the messages of a notification, by their ids. A chat message can have 20,000."""
        wanted = {"notification_id": {"$eq": notification_id}}
        found = self._messages.find(wanted, sort=[("_id", ASCENDING)], skip=skip, limit=limit)
        return [_record(document) async for document in found]

    async def devices_to_merge(self, *, now_ms: int, limit: int) -> list[str]:
        """Return devices whose quiet hours have ended and that have held messages, longest first."""
        longest: list[dict[str, Any]] = [
            {"$match": {"held_until": {"$lte": now_ms}}},
            {"$group": {"_id": "$device_id", "held_until": {"$min": "$held_until"}}},
            {"$sort": {"held_until": ASCENDING}},
            {"$limit": limit},
        ]
        return [document["_id"] async for document in await self._messages.aggregate(longest)]

    async def hold(self, device_id: str, *, now_ms: int, until_ms: int) -> None:
        """Hold the held messages of a device that are due until a later time."""
        held: dict[str, Any] = {"device_id": {"$eq": device_id}, "held_until": {"$lte": now_ms}}
        until = {"held_until": until_ms, "was_held_until": until_ms}
        await self._messages.update_many(held, {"$set": until})

    async def take_held(self, device_id: str, *, now_ms: int, merged_id: str) -> tuple[str, list[Message]]:
        """Choose the held messages of a device that become one message. Return its id and the messages, oldest first.

        A choice that a process has left behind when it died is returned again under its id. The caller has the lease of
        the device.
        """
        held: dict[str, Any] = {"device_id": {"$eq": device_id}, "held_until": {"$lte": now_ms}}
        chosen = await self._messages.find_one({**held, "merge_id": {"$exists": True}}, {"merge_id": 1})
        if chosen is None:
            ids = [each["_id"] async for each in self._messages.find(held, {"_id": 1}, limit=_MOST_HELD)]
            await self._messages.update_many({"_id": {"$in": ids}}, {"$set": {"merge_id": merged_id}})
        else:
            merged_id = chosen["merge_id"]
        found = self._messages.find({**held, "merge_id": merged_id}, sort=[("accepted_ms", ASCENDING)])
        return merged_id, [Message.from_document(document) async for document in found]

    async def note_merged(self, ids: list[str], merged_id: str) -> None:
        """Note that a message contains held messages. A single one was sent as itself."""
        state = {"state": "sent"} if ids == [merged_id] else {"state": "merged", "merged_into": merged_id}
        await self._messages.update_many(
            {"_id": {"$in": ids}}, {"$set": state, "$unset": {"held_until": "", "merge_id": ""}}
        )

    async def note_unreachable(self, ids: list[str]) -> None:
        """Note that messages have no channel any more."""
        await self._messages.update_many(
            {"_id": {"$in": ids}}, {"$set": {"state": "unreachable"}, "$unset": {"held_until": "", "merge_id": ""}}
        )

    async def held(self) -> int:
        """Return the number of held messages."""
        return await self._messages.count_documents({"held_until": {"$exists": True}})


def _record(document: dict[str, Any]) -> MessageRecord:
    return MessageRecord(
        Message.from_document(document),
        document["state"],
        document.get("suppressed_by", ""),
        document.get("was_held_until"),
        document.get("merged_into", ""),
    )
