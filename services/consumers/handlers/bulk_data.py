"""bulk_data: calls storage to match the offers of an owner after a bulk update."""

from services.backbone.clients import RequestRefused
from services.backbone.events import InvalidEvent
from services.consumers.core.actions import NotifySearchers
from services.consumers.handlers.clients import ActionClients


async def act(clients: ActionClients, arguments: NotifySearchers, _: str) -> None:
    """Match the offers of an owner."""
    try:
        await clients.storage.notify_searchers(arguments.owner)
    except RequestRefused as error:  # anybody can send events with values that storage rejects
        raise InvalidEvent(str(error)) from error
