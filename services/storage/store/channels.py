"""ChannelStore: the chat channels of a search and an offer."""

from typing import Any, Final, NamedTuple

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from services.storage.store.database import Database

_COLLECTION: Final = "channels"
_MAX_CHANNELS: Final = 200


class Channel(NamedTuple):
    """A chat channel."""

    id: str
    search_id: str
    offer_id: str
    url: str
    created_ms: int


async def create_channel_indexes(database: Database) -> None:
    """Create the index of the channels. Raises PyMongoError."""
    order = [("searchid", ASCENDING), ("offerid", ASCENDING), ("url", ASCENDING)]
    await database[_COLLECTION].create_indexes([IndexModel(order, name="pair", unique=True)])


class ChannelStore:
    """Channels by pair. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._channels = database[_COLLECTION]

    async def add(self, channel: Channel) -> Channel:
        """Store a channel, or return the stored one of the same pair and URL."""
        same = {"searchid": channel.search_id, "offerid": channel.offer_id, "url": channel.url}
        try:
            await self._channels.insert_one({"_id": channel.id, **same, "created": channel.created_ms})
        except DuplicateKeyError:
            stored = await self._channels.find_one(same)
            return channel if stored is None else _channel(stored)
        return channel

    async def of_pair(self, search_id: str, offer_id: str) -> list[Channel]:
        """Return the channels of a pair, at most 200."""
        found = self._channels.find({"searchid": search_id, "offerid": offer_id}, limit=_MAX_CHANNELS)
        return [_channel(document) async for document in found]


def _channel(document: dict[str, Any]) -> Channel:
    return Channel(document["_id"], document["searchid"], document["offerid"], document["url"], document["created"])
