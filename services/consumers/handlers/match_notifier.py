"""match_notifier: asks storage to match each object that has changed."""

from services.backbone.clients import StorageClient
from services.consumers.core.actions import MatchObject


async def act(storage: StorageClient, arguments: MatchObject) -> None:
    """Match one object now."""
    await storage.match_object(arguments.collection, arguments.id)
