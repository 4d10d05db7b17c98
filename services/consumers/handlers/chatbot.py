"""chatbot: replies to chat messages to machine owners from what storage knows of their offer."""

from services.backbone.clients import RequestRefused, ServiceUnavailable
from services.backbone.events import InvalidEvent
from services.backbone.logs import get_logger
from services.consumers.core.chat import ReplyInChat
from services.consumers.core.chat_commands import place_without_link, reply
from services.consumers.handlers.clients import ActionClients

log = get_logger(__name__)

_PLACE_URL = "https://www.geonames.org/{}"


async def act(clients: ActionClients, arguments: ReplyInChat, action_id: str) -> None:
    """Send a reply into the channel. This is the last step, so that its end is recorded at once."""
    if clients.chat is None:
        raise ServiceUnavailable("the worker has no SENDBIRD_APP_ID and SENDBIRD_API_TOKEN")
    offers = await clients.storage.offers_of_chat(arguments.ids)
    offer = next((each for each in offers if each.owner == arguments.owner), None)
    if offers and offer is None:
        log.info("chat_of_another_owner", id=action_id, owner=arguments.owner)
        return
    extdata = None if offer is None else dict(offer.extdata)
    geoid = place_without_link(arguments.owner, arguments.message, extdata)
    if extdata is not None and geoid is not None:
        extdata["link"] = await _link_of(clients, geoid)
    text = reply(arguments.owner, arguments.message, extdata)
    try:
        await clients.chat.send(arguments.channel_url, user_id=arguments.owner, text=text, message_id=action_id)
    except RequestRefused as error:  # anybody can send events with a channel that does not exist
        raise InvalidEvent(str(error)) from error


async def _link_of(clients: ActionClients, geoid: str) -> str:
    """Return a page about a place: that of GeoNames while it knows no other, or does not respond."""
    link = ""
    if clients.geonames is not None:
        try:
            link = await clients.geonames.link(geoid)
        except (ServiceUnavailable, RequestRefused) as error:
            log.info("place_without_link", geoid=geoid, reason=str(error))
    return link or _PLACE_URL.format(geoid)
