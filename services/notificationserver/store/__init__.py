"""The collections in MongoDB and the windows in Redis, one module for each task.

- `database`: the names of the collections, their indexes, and claims
- `notifications`: accepted notifications, the planning that is due, and the events that they owe
- `mappings`: devices and their channels
- `messages`: the messages to devices, and those that are held during quiet hours
- `deliveries`: the deliveries that are due, their results, and the dead list
- `windows`: the rate limit
- `groups`: joins concurrent writes into one
"""

from services.notificationserver.store.database import Lease, create_indexes
from services.notificationserver.store.deliveries import AttemptResult, DeliveryStore
from services.notificationserver.store.groups import GroupWriter
from services.notificationserver.store.mappings import MappingStore
from services.notificationserver.store.messages import MessageStore, PlannedMessage
from services.notificationserver.store.notifications import NotificationStore
from services.notificationserver.store.windows import WindowStore

__all__ = [
    "AttemptResult",
    "DeliveryStore",
    "GroupWriter",
    "Lease",
    "MappingStore",
    "MessageStore",
    "NotificationStore",
    "PlannedMessage",
    "WindowStore",
    "create_indexes",
]
