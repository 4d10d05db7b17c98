"""geo_updates: passes the newest location fix of each device to storage."""

from services.backbone.clients import StorageClient
from services.consumers.core.actions import StoreFix


async def act(storage: StorageClient, arguments: StoreFix) -> None:
    """Move the mobile objects of a device."""
    await storage.store_fix(
        arguments.device,
        latitude=arguments.latitude,
        longitude=arguments.longitude,
        accuracy_m=arguments.accuracy_m,
        at_ms=arguments.at_ms,
    )
