"""The stores of the notificationserver on a real MongoDB."""

import pytest
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError

from services.backbone.mongo import Database
from services.notificationserver.core.notifications import Notification, TextNotice
from services.notificationserver.store import NotificationStore


async def test_notification_without_a_majority_is_not_accepted(database: Database) -> None:
    alone = database.with_options(write_concern=WriteConcern(w=2))  # the replica set has one member
    notification = Notification("text.1", 1_795_600_000_000, TextNotice("device", "Hello"))
    with pytest.raises(BulkWriteError):
        await NotificationStore(alone, keep_days=1).accept([notification])
