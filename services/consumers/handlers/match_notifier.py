"""match_notifier: calls storage to match each object that has changed."""

from services.backbone.clients import RequestRefused
from services.backbone.events import InvalidEvent
from services.consumers.core.actions import MatchObject
from services.consumers.handlers.clients import ActionClients


async def act(clients: ActionClients, arguments: MatchObject, _: str) -> None:
    """Match one object now."""
    try:
        await clients.storage.match_object(arguments.collection, arguments.id)
    except RequestRefused as error:  # anybody can send events with values that storage rejects
        raise InvalidEvent(str(error)) from error
