"""match_notifier: calls storage to match each object that has changed."""

from services.consumers.core.actions import MatchObject
from services.consumers.handlers.clients import ActionClients


async def act(clients: ActionClients, arguments: MatchObject, _: str) -> None:
    """Match one object now."""
    await clients.storage.match_object(arguments.collection, arguments.id)
