"""bulk_data: asks storage to match the offers of an owner after a bulk update."""

from services.backbone.clients import StorageClient
from services.consumers.core.actions import NotifySearchers


async def act(storage: StorageClient, arguments: NotifySearchers) -> None:
    """Match the offers of an owner."""
    await storage.notify_searchers(arguments.owner)
