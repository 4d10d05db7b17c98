"""What the routes work with."""

from collections.abc import Callable
from typing import NamedTuple

from services.notificationserver.core.notifications import Notification
from services.notificationserver.metrics import Metrics
from services.notificationserver.settings import Settings
from services.notificationserver.store import GroupWriter, MappingStore, WindowStore


class NotifyContext(NamedTuple):
    """The stores, the settings and the functions that the routes call."""

    mappings: MappingStore
    windows: WindowStore
    accept: GroupWriter[Notification, bool]
    """Stores notifications. The result is whether the id was new."""
    settings: Settings
    metrics: Metrics
    on_accepted: Callable[[], None]
    """Called after a notification was stored."""
    now_ms: Callable[[], int]
    new_key: Callable[[], str]
    """Returns a new key for a callback."""
    new_id: Callable[[], str]
