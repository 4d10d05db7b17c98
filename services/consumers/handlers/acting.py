"""The action consumers by name: which events each acts on, and how."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec

from services.backbone.clients import StorageClient
from services.consumers.core.actions import (
    BULK_DATA,
    GEO_UPDATES,
    MATCH_NOTIFIER,
    ActionRule,
    MatchObject,
    NotifySearchers,
    StoreFix,
)
from services.consumers.handlers import bulk_data, geo_updates, match_notifier


class ActionHandler(NamedTuple):
    """One action consumer."""

    rule: ActionRule
    arguments: type[msgspec.Struct]
    act: Callable[[StorageClient, Any], Awaitable[None]]
    """Acts on the arguments. It may run twice for one event, so its effect must be the same then.

    Raises StorageUnavailable when the service can't be reached, StorageRefused when the arguments are invalid, and any
    other error for a failed attempt.
    """


ACTION_HANDLERS: Final = {
    handler.rule.handler: handler
    for handler in (
        ActionHandler(GEO_UPDATES, StoreFix, geo_updates.act),
        ActionHandler(MATCH_NOTIFIER, MatchObject, match_notifier.act),
        ActionHandler(BULK_DATA, NotifySearchers, bulk_data.act),
    )
}
