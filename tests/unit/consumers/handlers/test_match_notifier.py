from unittest.mock import AsyncMock, Mock

import pytest

from services.backbone.clients import RequestRefused
from services.backbone.events import InvalidEvent
from services.consumers.core.actions import MatchObject
from services.consumers.handlers import match_notifier


async def test_event_that_storage_rejects_is_invalid() -> None:
    clients = Mock()
    clients.storage.match_object = AsyncMock(side_effect=RequestRefused("storage: status 422"))
    with pytest.raises(InvalidEvent, match="status 422"):
        await match_notifier.act(clients, MatchObject("offers", "0" * 24), "event.1")
