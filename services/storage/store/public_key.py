"""PublicKey: the secret from which public locations are drawn. All processes share it."""

import secrets
from collections.abc import Callable
from typing import Final

from pymongo import ReturnDocument

from services.storage.core.public_points import seeded_unit
from services.storage.core.sphere import GeoPoint
from services.storage.store.database import Database

_COLLECTION: Final = "secrets"
_NAME: Final = "public_locations"
_KEY_BYTES: Final = 32


class PublicKey:
    """The secret. `load` reads it before the first use."""

    def __init__(self, database: Database) -> None:
        self._secrets = database[_COLLECTION]
        self._key: bytes | None = None

    async def load(self) -> None:
        """Read the secret, and create it if there is none. Raises PyMongoError."""
        document = await self._secrets.find_one_and_update(
            {"_id": _NAME},
            {"$setOnInsert": {"key": secrets.token_bytes(_KEY_BYTES)}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        assert document is not None  # noqa: S101 - for mypy: an upsert returns it
        self._key = bytes(document["key"])

    def unit(self, subject: str, location: GeoPoint) -> Callable[[], float]:
        """Return the numbers that draw a public location (see `seeded_unit`).

        `subject` is the owner if its token or a service has sent the location. Anybody can create an object under the
        name of an owner without a token, so its subject is its own id. Otherwise objects in all cells near the public
        location of the owner would show which cell is the true one.
        """
        if self._key is None:
            raise RuntimeError("load was not called")
        return seeded_unit(self._key, subject, location)
