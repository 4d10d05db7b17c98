"""MappingStore: devices and their channels."""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from services.backbone.mongo import Database
from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.store.database import MAPPINGS, Lease, lease_fields

_MAX_ATTEMPTS: Final = 16
_LONGEST_PAUSE_S: Final = 0.02
"""Between two attempts. Without a pause, 2 of 20 concurrent registrations of a device met others 16 times."""
_DEVICES_OF_A_USER: Final = 20
_LAST_CHARACTER: Final = "\U0010ffff"


class MappingConflict(Exception):
    """Other writers changed the mapping at each attempt."""


class MappingStore:
    """Mappings by device. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._mappings = database[MAPPINGS]

    async def get(self, device_id: str) -> DeviceMapping | None:
        """Return the mapping of a device."""
        document = await self._mappings.find_one({"_id": device_id})
        return None if document is None else DeviceMapping.from_document(document)

    async def by_ref(self, ref: str) -> DeviceMapping | None:
        """Return the mapping of the device with this name in addresses of pages."""
        document = await self._mappings.find_one({"ref": {"$eq": ref}})
        return None if document is None else DeviceMapping.from_document(document)

    async def page(self, text: str, *, skip: int, limit: int) -> tuple[list[DeviceMapping], int]:
        """Return a part of the mappings, newest first, and the number of all that match.

        `text` is an id of a device, of the chat provider or of OneSignal, or the beginning of a device id. Empty: all.
        """
        query: dict[str, Any] = {}
        if text:
            beginning = {"$gte": text, "$lt": text + _LAST_CHARACTER}
            exact = ({name: {"$eq": text}} for name in ("sendbird_id", "onesignal_id", "ref"))
            query = {"$or": [{"_id": beginning}, *exact]}
        found = self._mappings.find(
            query, sort=[("updated_ms", DESCENDING), ("_id", ASCENDING)], skip=skip, limit=limit
        )
        mappings = [DeviceMapping.from_document(document) async for document in found]
        return mappings, await self._mappings.count_documents(query)

    async def get_many(self, device_ids: Iterable[str]) -> dict[str, DeviceMapping]:
        """Return the known mappings among the devices."""
        wanted = list(set(device_ids))
        if not wanted:
            return {}
        found = await self._mappings.find({"_id": {"$in": wanted}}).to_list()
        return {document["_id"]: DeviceMapping.from_document(document) for document in found}

    async def devices_of(self, chat_users: Iterable[str]) -> dict[str, list[str]]:
        """Return the devices of users of the chat provider, at most 20 for each."""
        wanted = list(set(chat_users) - {""})
        devices: dict[str, list[str]] = {}
        if not wanted:
            return devices
        found = self._mappings.find({"sendbird_id": {"$in": wanted}}, {"sendbird_id": 1}, sort=[("_id", 1)])
        async for document in found:
            known = devices.setdefault(document["sendbird_id"], [])
            if len(known) < _DEVICES_OF_A_USER:
                known.append(document["_id"])
        return devices

    async def change(self, device_id: str, change: Callable[[DeviceMapping | None], DeviceMapping]) -> DeviceMapping:
        """Apply `change` to the mapping of a device, or to None if it has none. Return the mapping after it.

        `change` is called again if another writer was first. Raises MappingConflict after 16 attempts.
        """
        for _ in range(_MAX_ATTEMPTS):
            before = await self.get(device_id)
            after = change(before)
            document: dict[str, Any] = after.to_document() | {"revision": after.revision + 1}
            if before is None:
                try:
                    await self._mappings.insert_one(document)
                except DuplicateKeyError:
                    continue
                return after
            del document["_id"]
            # A mapping that was deleted and made again has the revision of the first one, but another creation.
            wanted = {"_id": device_id, "revision": before.revision, "created_ms": before.created_ms}
            if (await self._mappings.update_one(wanted, {"$set": document})).matched_count:
                return after
            await asyncio.sleep(_LONGEST_PAUSE_S * random.random())  # noqa: S311 - it keeps no secret
        raise MappingConflict("other changes of this device were first: try again")

    async def delete(self, device_id: str) -> bool:
        """Delete the mapping of a device. Return whether there was one."""
        return (await self._mappings.delete_one({"_id": device_id})).deleted_count == 1

    async def set_callback(
        self, device_id: str, url: str, changes: dict[str, Any], *, seen: DeviceMapping | None = None
    ) -> None:
        """Change the state of a callback, unless the device has another one by now.

        With `seen`, also only while it fails since the time in `seen`: another failure, or a success, may have been
        faster.
        """
        wanted: dict[str, Any] = {"_id": device_id, "callback_url": {"$eq": url}}
        if seen is not None:
            wanted["callback_failing_since_ms"] = seen.callback_failing_since_ms
        await self._mappings.update_one(wanted, {"$set": changes, "$inc": {"revision": 1}})

    async def end_failing(self, device_ids: Collection[str]) -> None:
        """Note that the callbacks of devices work, where the last attempts had failed."""
        if not device_ids:
            return
        failing = {"_id": {"$in": list(device_ids)}, "callback_failing_since_ms": {"$ne": None}}
        works = {"$set": {"callback_failing_since_ms": None}, "$inc": {"revision": 1}}
        await self._mappings.update_many(failing, works)

    async def remove_subscription(self, device_id: str, endpoint: str) -> None:
        """Remove a Web Push subscription."""
        pulled = {"$pull": {"webpush": {"endpoint": {"$eq": endpoint}}}, "$inc": {"revision": 1}}
        await self._mappings.update_one({"_id": device_id}, pulled)

    async def lease(self, device_id: str, lease: Lease) -> bool:
        """Lease the merging of the held messages of a device. Return False while another process has it."""
        wanted = {"_id": device_id, "merging_until": {"$not": {"$gt": lease.now_ms}}}
        leased = {"merging_until": lease.now_ms + lease.ms, "merging_token": lease.token}
        return (await self._mappings.update_one(wanted, {"$set": leased})).matched_count == 1

    async def release(self, device_id: str, lease: Lease) -> None:
        """End the lease of a device, unless another process has it by now."""
        mine = {"_id": device_id, "merging_token": lease.token}
        await self._mappings.update_one(mine, {"$unset": lease_fields("merging")})
