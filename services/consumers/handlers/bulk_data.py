"""bulk_data: calls storage to match the offers of an owner after a bulk update."""

from services.consumers.core.actions import NotifySearchers
from services.consumers.handlers.clients import ActionClients


async def act(clients: ActionClients, arguments: NotifySearchers, _: str) -> None:
    """Match the offers of an owner."""
    await clients.storage.notify_searchers(arguments.owner)
