"""The action consumers by name: which events each acts on, and how."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec

from services.consumers.core.actions import (
    BULK_DATA,
    GEO_UPDATES,
    MATCH_NOTIFIER,
    ActionRule,
    MatchObject,
    NotifySearchers,
    StoreFix,
)
from services.consumers.core.chat import CHATBOT, ReplyInChat
from services.consumers.core.places import GEONAMES, SearchPlaces
from services.consumers.handlers import bulk_data, chatbot, geo_updates, geonames, match_notifier
from services.consumers.handlers.clients import ActionClients


class ActionHandler(NamedTuple):
    """One action consumer."""

    rule: ActionRule
    arguments: type[msgspec.Struct]
    act: Callable[[ActionClients, Any, str], Awaitable[None]]
    """Acts on the arguments of the action with an id. It may run twice for one event, so its effect must be the same
    then.

    Raises ServiceUnavailable when what it calls can't be reached, RequestRefused or InvalidEvent when the arguments are
    rejected, and any other error (ServiceFailed, for example) for a failed attempt.
    """


ACTION_HANDLERS: Final = {
    handler.rule.handler: handler
    for handler in (
        ActionHandler(GEO_UPDATES, StoreFix, geo_updates.act),
        ActionHandler(MATCH_NOTIFIER, MatchObject, match_notifier.act),
        ActionHandler(BULK_DATA, NotifySearchers, bulk_data.act),
        ActionHandler(CHATBOT, ReplyInChat, chatbot.act),
        ActionHandler(GEONAMES, SearchPlaces, geonames.act),
    )
}
