from unittest.mock import AsyncMock, Mock

import pytest

from services.backbone.clients import RequestRefused
from services.backbone.events import InvalidEvent
from services.consumers.core.actions import NotifySearchers
from services.consumers.handlers import bulk_data


async def test_event_that_storage_rejects_is_invalid() -> None:
    clients = Mock()
    clients.storage.notify_searchers = AsyncMock(side_effect=RequestRefused("storage: status 422"))
    with pytest.raises(InvalidEvent, match="status 422"):
        await bulk_data.act(clients, NotifySearchers("owner"), "event.1")
