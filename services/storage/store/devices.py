"""DeviceTokens: the tokens that protect the objects of a device. Only their hashes are stored."""

import hashlib
import secrets
from typing import Any, Final

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from services.storage.store.database import Database

_COLLECTION: Final = "devices"
_TOKEN_BYTES: Final = 32


async def create_device_indexes(database: Database) -> None:
    """Create the index of the tokens. Raises PyMongoError."""
    await database[_COLLECTION].create_indexes([IndexModel([("token", ASCENDING)], name="token", unique=True)])


class DeviceTokens:
    """Tokens by device. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._devices = database[_COLLECTION]

    async def issue(self, device: str, *, now_ms: int, replace: bool = False) -> str | None:
        """Return a new token of 256 random bits, or None if the device has one. `replace`: the old one ends."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        document: dict[str, Any] = {"token": _hash(token), "created": now_ms}
        if replace:
            await self._devices.update_one({"_id": device}, {"$set": document}, upsert=True)
            return token
        try:
            await self._devices.insert_one({"_id": device, **document})
        except DuplicateKeyError:
            return None
        return token

    async def owner_of(self, token: str) -> str | None:
        """Return the device of a token, or None for an unknown token."""
        found = await self._devices.find_one({"token": _hash(token)}, {"_id": 1})
        return None if found is None else str(found["_id"])

    async def has_token(self, owner: str) -> bool:
        """Return whether a token was issued to an owner."""
        return await self._devices.find_one({"_id": owner}, {"_id": 1}) is not None


def _hash(token: str) -> str:
    # The tokens are random, so a hash without salt and without cost protects them.
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
