"""What the routes work with."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Self

from services.storage.core.matching import SubjectKind
from services.storage.metrics import ApiMetrics
from services.storage.settings import Settings
from services.storage.store import Database, ObjectStore
from services.storage.store.bulk import BulkStore
from services.storage.store.channels import ChannelStore
from services.storage.store.devices import DeviceTokens
from services.storage.store.lists import ListStore
from services.storage.store.marks import DueMarks
from services.storage.store.owed import OwedEvents
from services.storage.store.public_key import PublicKey


class Stores(NamedTuple):
    """The collections, by task."""

    objects: ObjectStore
    lists: ListStore
    bulk: BulkStore
    devices: DeviceTokens
    channels: ChannelStore
    owed: OwedEvents
    marks: DueMarks
    public_key: PublicKey

    @classmethod
    def of(cls, database: Database) -> Self:
        """Return the stores of a database."""
        return cls(
            ObjectStore(database),
            ListStore(database),
            BulkStore(database),
            DeviceTokens(database),
            ChannelStore(database),
            OwedEvents(database),
            DueMarks(database),
            PublicKey(database),
        )


class ApiContext(NamedTuple):
    """The stores, the settings and the functions that the routes call."""

    stores: Stores
    settings: Settings
    metrics: ApiMetrics
    on_change: Callable[[], None]
    """Called after a change that owes an event."""
    match_now: Callable[[SubjectKind, str], Awaitable[object]]
    """Matches the first candidates of an object."""
    now_ms: Callable[[], int]
    new_id: Callable[[], str]
