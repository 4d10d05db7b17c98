"""geo_updates: passes the newest location fix of each device to storage."""

from services.consumers.core.actions import StoreFix
from services.consumers.handlers.clients import ActionClients


async def act(clients: ActionClients, arguments: StoreFix, _: str) -> None:
    """Move the mobile objects of a device."""
    await clients.storage.store_fix(
        arguments.device,
        latitude=arguments.latitude,
        longitude=arguments.longitude,
        accuracy_m=arguments.accuracy_m,
        at_ms=arguments.at_ms,
    )
